#include "explain/explainer.h"

#include <algorithm>
#include <chrono>

#include "engine/cuda/device_tensor.h"
#include "explain/batch_pass.h"
#include "explain/gpu/planes.h"
#include "explain/names.h"
#include "explain/residence.h"

namespace camlucida {

Evidence::Evidence(SessionPool& pool, Session& session, const Tensor& input, const Subject& subject,
                   std::vector<Target> targets)
    : pool_(pool),
      session_(session),
      input_(on_stream(input, session.stream())),
      subject_(subject),
      targets_(std::move(targets)) {}

Evidence::Evidence(SessionPool& pool, std::shared_ptr<BatchPass> pass, int64_t row,
                   const Subject& subject, std::vector<Target> targets)
    : pool_(pool),
      batch_(std::move(pass)),
      row_(row),
      session_(batch_->session()),
      input_(batch_->input(row)),
      subject_(subject),
      targets_(std::move(targets)),
      scores_(batch_->scores(row)) {}

const Tensor& Evidence::scores() {
  if (!scores_.defined()) scores_ = session_.activation(subject_.score);
  return scores_;
}

double Evidence::score(size_t t) { return targets_[t].score(scores()); }

const Tensor& Evidence::activation(const std::string& value) {
  const auto it = activations_.find(value);
  if (it != activations_.end()) return it->second;
  return activations_
      .emplace(value,
               batch_ != nullptr ? batch_->activation(value, row_) : session_.activation(value))
      .first->second;
}

bool Evidence::has_gradient(const std::string& value) const {
  const std::vector<std::string>& planned = session_.plan().needs().gradient_to;
  return std::find(planned.begin(), planned.end(), value) != planned.end();
}

Tensor Evidence::gradient(const std::string& value, size_t t) {
  ++gradient_reads_;
  if (batch_ != nullptr) return batch_->gradient(value, row_, t);
  if (gradients_->empty()) {
    run_backward(seeds_of(targets_, scores()));
    // All at once: passes from other starts overwrite what the session has.
    for (const std::string& name : session_.plan().needs().gradient_to) {
      gradients_->emplace(name, session_.gradient(name));
    }
  }
  const auto it = gradients_->find(value);
  if (it == gradients_->end()) {
    throw Error(ErrorKind::kInternal, "the run was not planned for a gradient at '" + value + "'");
  }
  const Tensor& all = it->second;
  const int64_t rows = all.shape()[0] / static_cast<int64_t>(targets_.size());
  return all.rows(static_cast<int64_t>(t) * rows, rows);
}

namespace {

bool all_zero(const Tensor& tensor) {
  if (on_device(tensor)) return gpu::all_zero(tensor);
  const std::span<const float> values = tensor.as<float>();
  return std::all_of(values.begin(), values.end(), [](float v) { return v == 0.0f; });
}

}  // namespace

bool Evidence::activation_is_zero(const std::string& value) {
  const auto known = zero_.find({value, -1});
  if (known != zero_.end()) return known->second;
  return zero_[{value, -1}] = all_zero(activation(value));
}

bool Evidence::gradient_is_zero(const std::string& value, size_t t) {
  const std::pair key(value, static_cast<int64_t>(t));
  const auto known = zero_.find(key);
  if (known != zero_.end()) return known->second;
  return zero_[key] = all_zero(gradient(value, t));
}

Tensor Evidence::propagate(const std::string& value, const Tensor& starts) {
  require_own_passes();
  run_backward(starts);
  ++passes_.backwards;
  return session_.gradient(value);
}

void Evidence::require_own_passes() const {
  if (batch_ == nullptr) return;
  throw Error(ErrorKind::kInternal, "a method that claims to share its passes made one of its own");
}

void Evidence::run_backward(const Tensor& seeds) {
  const auto start = std::chrono::steady_clock::now();
  session_.backward(seeds);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  backward_ms_ += took.count();
}

Tensor Evidence::probe(int64_t count, const RowSource& variants) {
  const Needs needs{.outputs = {subject_.score}, .score = subject_.score};
  RowBatch rows(input_.shape(), variants);
  Tensor all;
  passes_.forwards += count;
  pool_.in_passes(input_.shape(), count, needs, [&](Session& session, int64_t first, int64_t used) {
    const int64_t batch = session.plan().desc(pool_.input()).shape[0];
    session.forward(rows.fill(session.stream(), batch, first, used));
    put_rows(session.activation(subject_.score), first, used, count, &all);
    progress(first + used, count);
  });
  return all;
}

Tensor Evidence::replay(int64_t count, const RowSource& variants) {
  require_own_passes();
  const Needs& needs = session_.plan().needs();
  RowBatch rows(activation(needs.replay_from).shape(), variants);
  Tensor all;
  passes_.replays += count;
  int64_t most = needs.replay_batch;
  for (int64_t first = 0; first < count;) {
    const int64_t used = std::min(most, count - first);
    try {
      put_rows(session_.replay(rows.fill(session_.stream(), used, first, used)), first, used, count,
               &all);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kResource || used == 1) throw;
      most = used / 2;
      pool_.note_smaller(used, most);
      continue;
    }
    first += used;
    progress(first, count);
  }
  return all;
}

Tensor Evidence::keep(const Tensor& tensor) const { return on_stream(tensor, session_.stream()); }

void Evidence::count(const Passes& passes) {
  passes_.forwards += passes.forwards;
  passes_.backwards += passes.backwards;
  passes_.replays += passes.replays;
}

const ExplainerRegistry& ExplainerRegistry::instance() {
  static const ExplainerRegistry registry = [] {
    ExplainerRegistry filled;
    register_all_explainers(filled);
    return filled;
  }();
  return registry;
}

void ExplainerRegistry::add(ExplainerDef explainer) {
  add_named(std::move(explainer), "explainer", explainers_, by_name_);
}

const ExplainerDef& ExplainerRegistry::require(const std::string& name) const {
  return require_named(name, "method", explainers_, by_name_);
}

std::string MethodChoice::name() const {
  const bool usual = variant == method->variants.front().name;
  return usual ? method->name : method->name + "@" + variant;
}

MethodChoice choose_method(const std::string& text) {
  const size_t at = text.find('@');
  const ExplainerDef& method = ExplainerRegistry::instance().require(text.substr(0, at));
  if (at == std::string::npos) return {&method, method.variants.front().name};
  std::string known;
  for (const ExplainerDef::Variant& variant : method.variants) {
    if (folded(variant.name) == folded(text.substr(at + 1))) return {&method, variant.name};
    known += (known.empty() ? "" : ", ") + method.name + "@" + variant.name;
  }
  throw Error(ErrorKind::kUsage,
              "method " + method.name + " has no variant '" + text.substr(at + 1) + "'",
              "choose from: " + known);
}

Needs activation_needs(const Subject& subject) {
  return Needs{.outputs = {subject.score}, .taps = {subject.layer}, .score = subject.score};
}

Needs gradient_needs(const Subject& subject) {
  Needs needs = activation_needs(subject);
  needs.gradient_to = {subject.layer};
  return needs;
}

Needs replay_needs(const Subject& subject, int batch) {
  Needs needs = activation_needs(subject);
  needs.replay_from = subject.layer;
  needs.replay_batch = batch;
  return needs;
}

bool compatible(const Needs& a, const Needs& b) {
  const bool rules = a.rule == b.rule || a.gradient_to.empty() || b.gradient_to.empty();
  const bool replays = a.replay_from.empty() || b.replay_from.empty() ||
                       (a.replay_from == b.replay_from && a.replay_batch == b.replay_batch);
  const bool scores = a.score.empty() || b.score.empty() || a.score == b.score;
  return rules && replays && scores;
}

Needs operator|(const Needs& a, const Needs& b) {
  if (!compatible(a, b)) {
    throw Error(ErrorKind::kInternal, "needs that cannot share one run were put together");
  }
  Needs result = a;
  const auto merge = [](std::vector<std::string>& into, const std::vector<std::string>& from) {
    for (const std::string& name : from) {
      if (std::find(into.begin(), into.end(), name) == into.end()) into.push_back(name);
    }
  };
  merge(result.outputs, b.outputs);
  merge(result.taps, b.taps);
  merge(result.gradient_to, b.gradient_to);
  if (result.score.empty()) result.score = b.score;
  if (a.gradient_to.empty()) result.rule = b.rule;
  result.seeds_per_image = std::max(a.seeds_per_image, b.seeds_per_image);
  if (result.replay_from.empty()) {
    result.replay_from = b.replay_from;
    result.replay_batch = b.replay_batch;
  }
  return result;
}

Tensor weighted_sum(const Tensor& activation, const Tensor& weights) {
  if (on_device(activation)) return gpu::weighted_sum(activation, weights);
  const Shape& shape = activation.shape();
  const int64_t pixels = shape[2] * shape[3];
  const std::span<const double> w = weights.as<double>();
  std::vector<double> sums(static_cast<size_t>(pixels), 0.0);
  for (int64_t k = 0; k < shape[1]; ++k) {
    const double weight = w[static_cast<size_t>(k)];
    const float* plane = activation.floats() + k * pixels;
    for (int64_t p = 0; p < pixels; ++p) sums[static_cast<size_t>(p)] += weight * plane[p];
  }
  Tensor raw(Shape{shape[2], shape[3]});
  from_double(DType::kFloat32, sums.data(), raw.raw(), pixels);
  return raw;
}

Tensor weighted_sum(const Tensor& activation, std::span<const double> weights) {
  const TensorDesc desc{DType::kFloat64, Shape{std::ssize(weights)}};
  return weighted_sum(activation, Tensor(desc, weights.data(), nullptr));
}

}  // namespace camlucida
