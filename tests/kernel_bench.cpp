#include "tests/kernel_bench.h"

#include <gtest/gtest.h>
#include <hwy/aligned_allocator.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/cpu/thread_pool.h"
#include "engine/reference.h"

namespace camlucida::test {
namespace {

/// Pools of 1, 2 and 3 threads, shared by all cases.
ThreadPool& pool_of(int threads) {
  static ThreadPool one(1), two(2), three(3);
  return threads == 1 ? one : threads == 2 ? two : three;
}

/// Position of every element of `shape` in memory, in row-major order.
std::vector<int64_t> positions(const Shape& shape, Layout layout) {
  std::vector<int64_t> result(static_cast<size_t>(shape.count()));
  EXPECT_TRUE(layout == Layout::kPlain || shape.rank() >= 3) << "no channels to put last";
  if (layout == Layout::kPlain || shape.rank() < 3 || result.empty()) {
    for (size_t i = 0; i < result.size(); ++i) result[i] = static_cast<int64_t>(i);
    return result;
  }
  const int64_t block = layout == Layout::kChannelsLast ? shape[1] : simd_block();
  const int64_t channels = shape[1];
  const int64_t blocks = (channels + block - 1) / block;
  const int64_t pixels = shape.count(2, shape.rank());
  for (size_t i = 0; i < result.size(); ++i) {
    const int64_t p = static_cast<int64_t>(i) % pixels;
    const int64_t c = static_cast<int64_t>(i) / pixels % channels;
    const int64_t n = static_cast<int64_t>(i) / pixels / channels;
    result[i] = ((n * blocks + c / block) * pixels + p) * block + c % block;
  }
  return result;
}

/// Memory of one port, with a guard behind it. Starts as bytes 0xFF: NaN in floats, so that what a
/// kernel fails to write, or reads before writing, shows.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes)
      : bytes_(bytes), data_(hwy::AllocateAligned<uint8_t>(bytes + kGuard)) {
    std::fill_n(data_.get(), bytes + kGuard, uint8_t{0xFF});
  }
  /// Room for a value of `shape` in elements of `type`.
  Buffer(const Shape& shape, Layout layout, DType type)
      : Buffer(static_cast<size_t>(stored_count(shape, layout)) * size_of(type)) {}
  /// Holds `values`; lanes beyond the channels of a blocked layout hold finite rubbish.
  Buffer(const Shape& shape, Layout layout, DType type, const std::vector<double>& values)
      : Buffer(shape, layout, type) {
    std::vector<double> placed(static_cast<size_t>(stored_count(shape, layout)));
    for (size_t i = 0; i < placed.size(); ++i) placed[i] = static_cast<double>(i % 7) - 3.0;
    const std::vector<int64_t> places = positions(shape, layout);
    for (size_t i = 0; i < places.size(); ++i) placed[static_cast<size_t>(places[i])] = values[i];
    from_double(type, placed.data(), data_.get(), static_cast<int64_t>(placed.size()));
  }

  void* data() const { return data_.get(); }
  size_t bytes() const { return bytes_; }
  bool intact() const {
    return data_ == nullptr || std::all_of(data_.get() + bytes_, data_.get() + bytes_ + kGuard,
                                           [](uint8_t byte) { return byte == 0xFF; });
  }
  /// In row-major order.
  std::vector<double> values(const Shape& shape, Layout layout, DType type) const {
    std::vector<double> placed(static_cast<size_t>(stored_count(shape, layout)));
    to_double(type, data_.get(), placed.data(), static_cast<int64_t>(placed.size()));
    std::vector<double> result;
    for (const int64_t place : positions(shape, layout)) {
      result.push_back(placed[static_cast<size_t>(place)]);
    }
    return result;
  }
  /// The lanes beyond the channels of a blocked layout must be finite.
  bool tail_is_finite(const Shape& shape, Layout layout) const {
    if (layout != Layout::kBlocked) return true;
    const auto* floats = reinterpret_cast<const float*>(data_.get());
    return std::all_of(floats, floats + stored_count(shape, layout),
                       [](float value) { return std::isfinite(value); });
  }
  size_t guarded_bytes() const { return data_ == nullptr ? 0 : bytes_ + kGuard; }

 private:
  static constexpr size_t kGuard = 256;
  size_t bytes_ = 0;
  hwy::AlignedFreeUniquePtr<uint8_t[]> data_ = nullptr;
};

/// The buffers of one run in the memory of a GPU, guards included.
class Mirror {
 public:
  explicit Mirror(std::shared_ptr<Stream> stream) : stream_(std::move(stream)) {}

  /// Address that a kernel gets: on the GPU, or on the processor if there is no stream.
  void* address(const Buffer& buffer) {
    if (stream_ == nullptr || buffer.data() == nullptr) return buffer.data();
    DeviceBuffer copy = stream_->allocate(buffer.guarded_bytes());
    stream_->upload(copy.data(), buffer.data(), buffer.guarded_bytes());
    void* address = copy.data();
    pairs_.emplace_back(&buffer, std::move(copy));
    return address;
  }
  /// Brings everything back.
  void fetch() {
    for (const auto& [buffer, copy] : pairs_) {
      stream_->download(buffer->data(), copy.data(), buffer->guarded_bytes());
    }
  }
  Stream* stream() const { return stream_.get(); }

 private:
  std::shared_ptr<Stream> stream_;
  std::vector<std::pair<const Buffer*, DeviceBuffer>> pairs_;
};

}  // namespace

Layout layout_at(const std::vector<Layout>& layouts, size_t i) {
  return i < layouts.size() ? layouts[i] : Layout::kPlain;
}

KernelBench::KernelBench(const LayerCase& layer_case, const Situation& situation,
                         std::vector<Epilogue> epilogues, std::shared_ptr<Stream> stream)
    : case_(layer_case),
      situation_(situation),
      stream_(std::move(stream)),
      kernel_case_{node_, false, "plain", {}, {}, {}, {}} {
  node_.name = layer_case.example.name;
  node_.layer = layer_case.layer;
  node_.attributes = layer_case.example.attributes;
  node_.epilogues = std::move(epilogues);
  for (size_t i = 0; i < case_.inputs.size(); ++i) {
    const bool absent = case_.example.inputs[i].absent;
    node_.inputs.push_back(absent ? kNone : static_cast<ValueId>(i));
    KernelCase::Port port{case_.input_descs[i], nullptr, !absent, Layout::kPlain};
    if (case_.constants[i].defined()) port.constant = &case_.constants[i];
    port.layout = hint(port);
    kernel_case_.inputs.push_back(port);
  }
  for (size_t i = 0; i < case_.output_descs.size(); ++i) {
    node_.outputs.push_back(static_cast<ValueId>(100 + i));
    KernelCase::Port port{case_.output_descs[i], nullptr, true, Layout::kPlain};
    port.layout = hint(port);
    kernel_case_.outputs.push_back(port);
    kernel_case_.grad_layouts.push_back(port.layout);
  }
  kernel_case_.tail = situation_.tail;
  if (situation_.tail.addend) kernel_case_.grad_layouts.push_back(kernel_case_.inputs[0].layout);
  kernel_case_.backward = situation_.backward;
  kernel_case_.rule = situation_.rule;
  kernel_case_.wanted = situation_.wanted;
  kernel_case_.precision = situation_.precision;
  if (stream_ != nullptr) kernel_case_.gpu = stream_->gpu().shared_from_this();
}

Layout KernelBench::hint(const KernelCase::Port& port) const {
  const bool can = port.present && port.constant == nullptr && port.desc.shape.rank() >= 3 &&
                   port.desc.dtype == DType::kFloat32;
  return can ? situation_.hint : Layout::kPlain;
}

DType KernelBench::stored(const TensorDesc& desc, Layout layout, bool gradient) const {
  return stored_type(desc, layout, situation_.precision, gradient);
}

Doubles KernelBench::run(const PreparedKernel& kernel, const Offer& offer, int threads,
                         bool in_place, const Doubles& outputs, const Doubles& cotangents) const {
  const bool backward = situation_.backward;
  const Saves& saves = case_.layer->saves_under(situation_.rule);
  const auto room = [&](const TensorDesc& desc, Layout layout, bool gradient) {
    return Buffer(desc.shape, layout, stored(desc, layout, gradient));
  };
  const auto holding = [&](const TensorDesc& desc, Layout layout, bool gradient,
                           const std::vector<double>& values) {
    return Buffer(desc.shape, layout, stored(desc, layout, gradient), values);
  };
  std::vector<Buffer> in, out, grad_out, grad_in;
  for (size_t i = 0; i < case_.inputs.size(); ++i) {
    const TensorDesc& desc = case_.input_descs[i];
    const bool in_tail = i == 0 && offer.does_tail && situation_.tail.function != nullptr;
    const bool given =
        case_.is_data(i) && (!backward || in_tail || saves.reads_input(i, situation_.wanted));
    in.push_back(given ? holding(desc, layout_at(offer.inputs, i), false, case_.inputs[i])
                       : Buffer());
    const bool wanted = backward && situation_.wanted[i];
    grad_in.push_back(wanted ? room(desc, layout_at(offer.grad_inputs, i), true) : Buffer());
  }
  for (size_t i = 0; i < case_.output_descs.size(); ++i) {
    const TensorDesc& desc = case_.output_descs[i];
    if (!backward) {
      out.push_back(in_place && i == 0 ? Buffer() : room(desc, layout_at(offer.outputs, i), false));
      continue;
    }
    out.push_back(saves.outputs ? holding(desc, layout_at(offer.outputs, i), false, outputs[i])
                                : Buffer());
    grad_out.push_back(holding(desc, layout_at(offer.grad_outputs, i), true, cotangents[i]));
  }
  if (offer.does_tail && situation_.tail.addend) {
    grad_out.push_back(holding(case_.input_descs[0], layout_at(offer.grad_outputs, grad_out.size()),
                               true, cotangents.back()));
  }
  const Buffer scratch(offer.scratch_bytes);
  Mirror mirror(stream_);
  std::vector<const void*> inputs, grad_outputs;
  std::vector<void*> output_pointers, grad_inputs;
  for (const Buffer& buffer : in) inputs.push_back(mirror.address(buffer));
  for (const Buffer& buffer : grad_out) grad_outputs.push_back(mirror.address(buffer));
  for (const Buffer& buffer : out) output_pointers.push_back(mirror.address(buffer));
  for (const Buffer& buffer : grad_in) grad_inputs.push_back(mirror.address(buffer));
  if (in_place) output_pointers[0] = const_cast<void*>(inputs[0]);
  kernel.run(
      KernelArgs{inputs.data(), output_pointers.data(), grad_outputs.data(), grad_inputs.data(),
                 static_cast<std::byte*>(mirror.address(scratch)), mirror.stream()},
      pool_of(threads));
  mirror.fetch();

  Doubles results;
  const auto collect = [&](const Buffer& buffer, const TensorDesc& desc, Layout layout,
                           bool gradient) {
    EXPECT_TRUE(buffer.intact()) << "wrote beyond its output";
    EXPECT_TRUE(buffer.tail_is_finite(desc.shape, layout)) << "unused lanes are not finite";
    results.push_back(buffer.values(desc.shape, layout, stored(desc, layout, gradient)));
  };
  EXPECT_TRUE(scratch.intact()) << "wrote beyond the scratch memory";
  for (size_t i = 0; !backward && i < out.size(); ++i) {
    const Buffer& buffer = in_place && i == 0 ? in[0] : out[i];
    collect(buffer, case_.output_descs[i], layout_at(offer.outputs, i), false);
  }
  for (size_t i = 0; backward && i < grad_in.size(); ++i) {
    if (situation_.wanted[i]) {
      collect(grad_in[i], case_.input_descs[i], layout_at(offer.grad_inputs, i), true);
    }
  }
  return results;
}

void expect_close(const Doubles& actual, const Doubles& expected, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t k = 0; k < actual.size(); ++k) {
    double scale = 0;
    for (const double value : expected[k]) scale = std::max(scale, std::abs(value));
    double worst = 0;
    size_t where = 0;
    for (size_t i = 0; i < actual[k].size(); ++i) {
      const double error = std::abs(actual[k][i] - expected[k][i]);
      if (error <= worst) continue;  // false for NaN
      worst = error;
      where = i;
      if (std::isnan(error)) break;
    }
    EXPECT_TRUE(worst <= tolerance * scale)
        << "result " << k << " element " << where << ": " << actual[k][where] << " instead of "
        << expected[k][where] << ", error " << worst / scale << " of the largest value, allowed "
        << tolerance;
  }
}

bool same_bits(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0);
}

bool same_way(const Offer& a, const Offer& b) {
  return a.possible && b.possible && a.variant == b.variant && a.inputs == b.inputs &&
         a.outputs == b.outputs && a.grad_outputs == b.grad_outputs &&
         a.grad_inputs == b.grad_inputs;
}

bool serves(const KernelDef& kernel, const LayerDef& layer, const Situation& situation,
            Device device) {
  if (kernel.device != device || kernel.backward != situation.backward) return false;
  const BackwardRule* rule = situation.backward ? layer.rule(situation.rule) : nullptr;
  if (rule != nullptr) {
    return std::count(rule->kernels.begin(), rule->kernels.end(), kernel.name) > 0;
  }
  return kernel.layers.empty() ||
         std::count(kernel.layers.begin(), kernel.layers.end(), layer.name) > 0;
}

namespace {

/// How far a rounding of the data to float32 moves what the rule makes of it, of the largest value.
/// A rule that divides by a sum with both signs can be ill-conditioned; a derivative is not asked.
double effect_of_rounding(const LayerCase& c, const Situation& situation,
                          const Doubles& cotangents) {
  const BackwardRule* rule = situation.backward ? c.layer->rule(situation.rule) : nullptr;
  if (rule == nullptr || !rule->saves || !rule->saves->inputs) return 0;
  const auto result = [&](const LayerCase& one) {
    return reference_backward(one, reference_forward(one, one.inputs), cotangents, situation.rule);
  };
  const Doubles exact = result(c);
  double effect = 0;
  for (uint32_t trial = 1; trial <= 3; ++trial) {
    LayerCase rounded = c;
    uint32_t state = trial;
    for (size_t i = 0; i < rounded.inputs.size(); ++i) {
      if (c.input_descs[i].dtype != DType::kFloat32) continue;
      for (double& value : rounded.inputs[i]) {
        state = state * 1664525u + 1013904223u;
        value *= 1.0 + ((state >> 31) != 0 ? 0x1p-24 : -0x1p-24);
      }
    }
    const Doubles moved = result(rounded);
    for (size_t k = 0; k < exact.size(); ++k) {
      double peak = 0;
      double worst = 0;
      for (size_t i = 0; i < exact[k].size(); ++i) {
        peak = std::max(peak, std::abs(exact[k][i]));
        worst = std::max(worst, std::abs(exact[k][i] - moved[k][i]));
      }
      if (peak > 0) effect = std::max(effect, worst / peak);
    }
  }
  return effect;
}

Doubles rounded_to_type(const LayerCase& c, Doubles outputs, Precision precision) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const TensorDesc& desc = c.output_descs[i];
    const Layout layout = desc.shape.rank() >= 3 ? Layout::kChannelsLast : Layout::kPlain;
    Tensor tensor(desc.shape, stored_type(desc, layout, precision, false));
    from_double(tensor.dtype(), outputs[i].data(), tensor.raw(), tensor.count());
    outputs[i] = tensor.to_doubles();
  }
  return outputs;
}

Expected expect(const LayerCase& c, const Situation& situation) {
  Expected expected;
  expected.tolerance = c.example.tolerance;
  const Doubles exact = reference_forward(c, c.inputs);
  expected.outputs = rounded_to_type(c, exact, situation.precision);
  if (!situation.backward) {
    // References compute in double whatever the type: what is no float32 is rounded when stored.
    for (size_t i = 0; i < exact.size(); ++i) {
      const bool computed = c.output_descs[i].dtype == DType::kFloat32;
      expected.results.push_back(computed ? exact[i] : expected.outputs[i]);
    }
    return expected;
  }
  expected.cotangents = cotangents_of(c);
  const Doubles gradients =
      reference_backward(c, expected.outputs, expected.cotangents, situation.rule);
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (situation.wanted[i]) expected.results.push_back(gradients[i]);
  }
  // The sums of a kernel round a few times more often than its data.
  constexpr double kRoundings = 8;
  expected.tolerance = std::max(expected.tolerance,
                                kRoundings * effect_of_rounding(c, situation, expected.cotangents));
  return expected;
}

/// The part of `expected` that belongs to one picture.
Expected row_of(const LayerCase& c, const Expected& expected, int64_t index) {
  Expected row;
  const auto cut = [&](const Doubles& from, Doubles& to) {
    for (const std::vector<double>& values : from) {
      const auto size = static_cast<int64_t>(values.size()) / c.batch();
      to.emplace_back(values.begin() + index * size, values.begin() + (index + 1) * size);
    }
  };
  cut(expected.outputs, row.outputs);
  cut(expected.cotangents, row.cotangents);
  return row;
}

}  // namespace

const Expected& Expectations::of(const Situation& situation) {
  auto& slot = known_[{situation.backward, situation.rule, situation.wanted}];
  if (!slot) slot = expect(case_, situation);
  return *slot;
}

void check_rows(const KernelDef& kernel, const LayerCase& c, const Situation& situation,
                const Offer& offer, const Expected& expected, const Doubles& batched,
                const std::shared_ptr<Stream>& stream) {
  for (int64_t r = 0; r < c.batch(); ++r) {
    const LayerCase row_case = c.row(r);
    const KernelBench bench(row_case, situation, {}, stream);
    const Expected row = row_of(c, expected, r);
    for (const Offer& candidate : kernel.offer(bench.kernel_case())) {
      if (!same_way(offer, candidate)) continue;
      const auto prepared = kernel.prepare(bench.kernel_case(), candidate);
      const Doubles alone = bench.run(*prepared, candidate, 1, false, row.outputs, row.cotangents);
      size_t result = 0;
      for (size_t i = 0; i < (situation.backward ? c.inputs.size() : alone.size()); ++i) {
        if (situation.backward && !situation.wanted[i]) continue;
        const size_t k = result++;
        // An operand shared by all pictures (not cut into rows) collects a sum over them.
        if (alone[k].size() == batched[k].size()) continue;
        const auto size = static_cast<int64_t>(alone[k].size());
        const std::vector<double> part(batched[k].begin() + r * size,
                                       batched[k].begin() + (r + 1) * size);
        EXPECT_TRUE(same_bits(part, alone[k])) << "picture " << r << " differs when run alone";
      }
    }
  }
}

std::vector<Situation> situations_of(const LayerCase& c, Layout hint, Precision precision) {
  std::vector<Situation> situations = {Situation{}};
  if (c.layer->backward && c.example.gradient) {
    std::vector<bool> all;
    for (size_t i = 0; i < c.inputs.size(); ++i) all.push_back(c.has_gradient(i));
    std::vector<std::vector<bool>> choices = {all};
    if (std::count(all.begin(), all.end(), true) > 1) {
      for (size_t i = 0; i < all.size(); ++i) {
        if (!all[i]) continue;
        choices.emplace_back(all.size(), false);
        choices.back()[i] = true;
      }
    }
    if (std::count(all.begin(), all.end(), true) == 0) choices.clear();
    for (const std::vector<bool>& wanted : choices) {
      situations.push_back(Situation{.backward = true, .wanted = wanted});
      for (const auto& [rule, function] : c.layer->rules) {
        situations.push_back(Situation{.backward = true, .rule = rule, .wanted = wanted});
      }
    }
  }
  const size_t count = situations.size();
  for (size_t i = 0; i < count; ++i) {
    situations.push_back(situations[i]);
    situations.back().hint = hint;
  }
  for (Situation& situation : situations) situation.precision = precision;
  return situations;
}

namespace {

/// The function of a layer without attributes and with one input, as the planner attaches it.
std::optional<Epilogue> unary_epilogue(const Registry& registry, const char* name) {
  const LayerDef* layer = registry.find(name);
  if (layer == nullptr || !layer->unary) return {};
  const auto function = layer->unary(InferContext{layer->prototype, {}, {}, 1});
  if (!function) return {};
  return Epilogue{layer, layer->prototype, kNone, *function, {}};
}

/// A sum with another value of the output's shape, then activations.
std::vector<std::vector<Epilogue>> epilogue_chains(const Registry& registry, int operand) {
  const auto relu = unary_epilogue(registry, "Relu");
  const auto sigmoid = unary_epilogue(registry, "Sigmoid");
  std::vector<std::vector<Epilogue>> chains;
  if (relu) chains.push_back({*relu});
  if (sigmoid) chains.push_back({*sigmoid});
  if (const LayerDef* add = registry.find("Add")) {
    const Epilogue sum{add, add->prototype, operand, {}, {}};
    chains.push_back({sum});
    if (relu) {
      chains.push_back({sum, *relu});
      chains.push_back({*relu, sum});
    }
  }
  return chains;
}

double largest(const std::vector<double>& values) {
  double result = 0;
  for (const double value : values) result = std::max(result, std::abs(value));
  return result;
}

std::string operation_of(const std::vector<Epilogue>& chain) {
  std::string text;
  for (const Epilogue& epilogue : chain) text += "+" + epilogue.layer->name;
  return text;
}

}  // namespace

std::vector<FusedCase> fused_cases(const Registry& registry, const LayerCase& c) {
  std::vector<FusedCase> cases;
  if (c.layer->epilogue != EpilogueRole::kHost || c.output_descs[0].dtype != DType::kFloat32 ||
      c.example.output_count != 1) {
    return cases;
  }
  const Doubles plain = reference_forward(c, c.inputs);
  for (const auto& chain : epilogue_chains(registry, static_cast<int>(c.inputs.size()))) {
    FusedCase fused{c, chain, plain, c.layer->name + operation_of(chain)};
    const bool sum = std::any_of(chain.begin(), chain.end(),
                                 [](const Epilogue& e) { return e.operand != kNone; });
    if (sum) {
      fused.layer_case.example.inputs.push_back(ExampleInput{.shape = c.output_descs[0].shape});
      fused.layer_case.input_descs.push_back(c.output_descs[0]);
      fused.layer_case.inputs.push_back(make_data(c.output_descs[0], -2, 2, "operand"));
      fused.layer_case.constants.emplace_back();
    }
    // The chain's reference functions, one after the other.
    for (const Epilogue& epilogue : chain) {
      Doubles before = fused.expected;
      RefContext context{epilogue.attributes, {}, {}, {}, {}};
      const TensorDesc& desc = c.output_descs[0];
      context.inputs.push_back(RefTensor{desc.dtype, desc.shape, before[0].data()});
      if (epilogue.operand != kNone) {
        context.inputs.push_back(
            RefTensor{desc.dtype, desc.shape, fused.layer_case.inputs.back().data()});
      }
      context.outputs.push_back(RefTensor{desc.dtype, desc.shape, fused.expected[0].data()});
      epilogue.layer->forward(context);
    }
    cases.push_back(std::move(fused));
  }
  return cases;
}

Expected TailCase::behind(const LayerCase& c, Expected bare) const {
  std::vector<double>& gradient = bare.results[0];
  const double before = largest(gradient);
  if (!addend.empty()) bare.cotangents.push_back(addend);
  for (size_t i = 0; i < addend.size(); ++i) gradient[i] += addend[i];
  if (function) gradient = through(c, gradient);
  // Where much of a gradient is masked, what it was rounded to weighs more.
  const double after = largest(gradient);
  if (after > 0 && before > after) bare.tolerance *= before / after;
  return bare;
}

std::vector<double> TailCase::through(const LayerCase& c, std::vector<double>& gradient) const {
  const TensorDesc& desc = c.input_descs[0];
  std::vector<double> x = c.inputs[0];
  std::vector<double> result(gradient.size(), 0.0);
  const RefTensor saved{desc.dtype, desc.shape, x.data()};
  RefContext context{function->attributes, {saved}, {saved}, {}, {}};
  context.grad_outputs.push_back(RefTensor{desc.dtype, desc.shape, gradient.data()});
  context.grad_inputs.push_back(RefTensor{desc.dtype, desc.shape, result.data()});
  function->layer->backward(context);
  return result;
}

std::vector<TailCase> tail_cases(const Registry& registry, const LayerCase& c) {
  const std::vector<double> addend = make_data(c.input_descs[0], -2, 2, "addend");
  std::vector<TailCase> cases = {TailCase{{}, addend, "GradientSum"}};
  // A rectifier, a clamp and a curve.
  for (const char* name : {"Relu", "Clip", "Sigmoid"}) {
    const std::optional<Epilogue> function = unary_epilogue(registry, name);
    if (!function) continue;
    cases.push_back({function, {}, name});
    cases.push_back({function, addend, std::string("GradientSum+") + name});
  }
  return cases;
}

}  // namespace camlucida::test
