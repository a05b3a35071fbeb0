#include "explain/explainer.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstring>

namespace camlucida {
namespace {

std::string folded(const std::string& name) {
  std::string result;
  for (char c : name) {
    if (c != '-' && c != '_') {
      result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  return result;
}

}  // namespace

Evidence::Evidence(Session& session, const Subject& subject, std::vector<Target> targets)
    : session_(session), subject_(subject), targets_(std::move(targets)) {}

const Tensor& Evidence::scores() {
  if (!scores_.defined()) scores_ = session_.activation(subject_.score);
  return scores_;
}

const Tensor& Evidence::activation(const std::string& value) {
  const auto it = activations_.find(value);
  if (it != activations_.end()) return it->second;
  return activations_.emplace(value, session_.activation(value)).first->second;
}

Tensor Evidence::gradient(const std::string& value, size_t t) {
  if (backwards_ == 0) {
    const Tensor& scores = this->scores();
    Shape shape = scores.shape();
    shape[0] *= static_cast<int64_t>(targets_.size());
    Tensor seeds(shape);
    for (size_t i = 0; i < targets_.size(); ++i) {
      const Tensor seed = targets_[i].seed(scores);
      std::memcpy(static_cast<std::byte*>(seeds.raw()) + i * seed.bytes(), seed.raw(),
                  seed.bytes());
    }
    const auto start = std::chrono::steady_clock::now();
    session_.backward(seeds);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    backward_ms_ = took.count();
    backwards_ = static_cast<int>(targets_.size());
  }
  auto it = gradients_.find(value);
  if (it == gradients_.end()) it = gradients_.emplace(value, session_.gradient(value)).first;
  const Tensor& all = it->second;
  TensorDesc desc = all.desc();
  desc.shape[0] /= static_cast<int64_t>(targets_.size());
  const auto* data =
      static_cast<const std::byte*>(all.raw()) + t * static_cast<size_t>(desc.bytes());
  return Tensor(desc, data, std::make_shared<Tensor>(all));
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
  auto owned = std::make_unique<const ExplainerDef>(std::move(explainer));
  std::vector<std::string> names = owned->aliases;
  names.push_back(owned->name);
  for (std::string& name : names) name = folded(name);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  for (const std::string& name : names) {
    if (!by_name_.emplace(name, owned.get()).second) {
      throw Error(ErrorKind::kInternal, "explainer name '" + name + "' is in use");
    }
  }
  explainers_.push_back(std::move(owned));
}

const ExplainerDef& ExplainerRegistry::require(const std::string& name) const {
  const auto it = by_name_.find(folded(name));
  if (it != by_name_.end()) return *it->second;
  std::string known;
  for (const auto& explainer : explainers_) {
    known += (known.empty() ? "" : ", ") + explainer->name;
  }
  throw Error(ErrorKind::kUsage, "there is no method '" + name + "'", "choose from: " + known);
}

Needs operator|(const Needs& a, const Needs& b) {
  if (a.rule != b.rule && !a.gradient_to.empty() && !b.gradient_to.empty()) {
    throw Error(ErrorKind::kUsage,
                "methods with different backward rules ('" + a.rule + "', '" + b.rule +
                    "') cannot share one run",
                "run them one after the other");
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

}  // namespace camlucida
