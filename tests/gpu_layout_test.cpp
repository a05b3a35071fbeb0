#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "engine/cpu/thread_pool.h"
#include "engine/cuda/gpu.h"
#include "engine/cuda/pack.h"
#include "engine/cuda/prepare_picture.h"
#include "engine/cuda/reorder.h"

/// Layout and utility kernels of the GPU on an emulated one. Where nothing is rounded the results
/// have the same bits as the host's.
namespace camlucida {
namespace {

const std::vector<Precision> kPrecisions = {Precision::kFp32, Precision::kTf32, Precision::kFp16,
                                            Precision::kBf16};

/// One channel, one pixel, fewer channels than a pack, odd numbers of both, whole packs, many.
const std::vector<Shape> kShapes = {{1, 3, 5, 7},   {2, 1, 3, 3},   {3, 5, 1, 1},     {2, 8, 4, 4},
                                    {1, 17, 3, 5},  {2, 64, 7, 7},  {1, 40, 2, 3, 5}, {2, 12, 9},
                                    {1, 3, 33, 65}, {4, 130, 1, 2}, {0, 3, 2, 2}};

/// Numbers of every size and sign, some of them beyond what 16 bits hold exactly.
std::vector<float> numbers(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    const auto x = static_cast<float>((i * 7919) % 10007) - 5003.0f;
    values[i] = i % 11 == 0 ? std::ldexp(x, -20) : x * 0.37f;
  }
  return values;
}

/// The bytes of that number in a stored type.
std::vector<uint8_t> bytes_of(float value, DType type) {
  std::vector<uint8_t> bytes(size_of(type));
  const double wide = value;
  from_double(type, &wide, bytes.data(), 1);
  return bytes;
}

class GpuLayoutTest : public ::testing::Test {
 protected:
  /// A buffer with room behind it that must stay as it was.
  static constexpr size_t kGuard = 64;

  template <class T>
  DeviceBuffer upload(const std::vector<T>& values) {
    DeviceBuffer buffer = stream_->allocate(values.size() * sizeof(T));
    stream_->upload(buffer.data(), values.data(), values.size() * sizeof(T));
    return buffer;
  }
  std::vector<uint8_t> download(const DeviceBuffer& buffer, size_t bytes) {
    std::vector<uint8_t> result(bytes + kGuard);
    stream_->download(result.data(), buffer.data(), result.size());
    for (size_t i = bytes; i < result.size(); ++i) {
      EXPECT_EQ(result[i], 0xFF) << "written " << i - bytes << " bytes behind the end";
    }
    result.resize(bytes);
    return result;
  }

  std::shared_ptr<Gpu> gpu_ = Gpu::emulated(2);
  std::shared_ptr<Stream> stream_ = gpu_->new_stream();
  ThreadPool pool_{1};
};

/// The bytes of `desc` in `layout`, made one element at a time.
std::vector<uint8_t> laid_out(const std::vector<float>& plain, const TensorDesc& desc,
                              Layout layout, Precision precision, bool gradient) {
  const View view = view_of(desc, layout, precision, gradient);
  std::vector<uint8_t> bytes(plain.size() * size_of(view.type));
  for (size_t i = 0; i < plain.size(); ++i) {
    const std::vector<uint8_t> element = bytes_of(plain[i], view.type);
    const auto at = static_cast<size_t>(view.offset(static_cast<int64_t>(i)));
    std::copy(element.begin(), element.end(), bytes.begin() + at * element.size());
  }
  return bytes;
}

TEST_F(GpuLayoutTest, ReordersEveryShapeInEveryPrecisionBothWays) {
  for (const Shape& shape : kShapes) {
    for (const Precision precision : kPrecisions) {
      for (const bool gradient : {false, true}) {
        SCOPED_TRACE(shape.to_string() + " " + std::string(name_of(precision)) +
                     (gradient ? " gradient" : ""));
        const TensorDesc desc{DType::kFloat32, shape};
        const std::vector<float> plain = numbers(shape.count());
        const auto bytes_in = [&](Layout layout) {
          return laid_out(plain, desc, layout, precision, gradient);
        };
        const auto run = [&](Layout from, Layout to, const std::vector<uint8_t>& data) {
          const auto kernel = prepare_gpu_reorder(desc, from, to, precision, gradient);
          const DeviceBuffer source = upload(data);
          const size_t bytes = bytes_in(to).size();
          const DeviceBuffer target = stream_->allocate(bytes + kGuard);
          const void* in[] = {source.data()};
          void* out[] = {target.data()};
          KernelArgs args;
          args.stream = stream_.get();
          (gradient ? args.grad_outputs : args.inputs) = in;
          (gradient ? args.grad_inputs : args.outputs) = out;
          kernel->run(args, pool_);
          return download(target, bytes);
        };
        const std::vector<uint8_t> mixed = bytes_in(Layout::kChannelsLast);
        EXPECT_EQ(run(Layout::kPlain, Layout::kChannelsLast, bytes_in(Layout::kPlain)), mixed);
        // Back come the numbers as they were stored.
        const DType stored = stored_type(desc, Layout::kChannelsLast, precision, gradient);
        std::vector<float> rounded = plain;
        for (float& value : rounded) {
          double wide = 0;
          to_double(stored, bytes_of(value, stored).data(), &wide, 1);
          value = static_cast<float>(wide);
        }
        EXPECT_EQ(run(Layout::kChannelsLast, Layout::kPlain, mixed),
                  laid_out(rounded, desc, Layout::kPlain, precision, gradient));
      }
    }
  }
}

TEST_F(GpuLayoutTest, ReordersIntegersWithoutConversion) {
  const TensorDesc desc{DType::kInt64, {2, 3, 4, 5}};
  std::vector<int64_t> values;
  for (int64_t i = 0; i < desc.shape.count(); ++i) values.push_back((i << 40) + i);
  const DeviceBuffer source = upload(values);
  const DeviceBuffer mixed = stream_->allocate(values.size() * sizeof(int64_t));
  const DeviceBuffer back = stream_->allocate(values.size() * sizeof(int64_t) + kGuard);
  const auto run = [&](Layout from, Layout to, const DeviceBuffer& a, const DeviceBuffer& b) {
    const void* in[] = {a.data()};
    void* out[] = {b.data()};
    KernelArgs args;
    args.stream = stream_.get();
    args.inputs = in;
    args.outputs = out;
    prepare_gpu_reorder(desc, from, to, Precision::kFp16, false)->run(args, pool_);
  };
  run(Layout::kPlain, Layout::kChannelsLast, source, mixed);
  const View view = view_of(desc, Layout::kChannelsLast, Precision::kFp16);
  const auto* stored = mixed.as<const int64_t>();  // memory of an emulated GPU is the host's
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(stored[view.offset(static_cast<int64_t>(i))], values[i]);
  }
  run(Layout::kChannelsLast, Layout::kPlain, mixed, back);
  std::vector<uint8_t> expected(values.size() * sizeof(int64_t));
  std::memcpy(expected.data(), values.data(), expected.size());
  EXPECT_EQ(download(back, expected.size()), expected);
}

TEST_F(GpuLayoutTest, ConvertsViewsOfAnyOrder) {
  // A matrix of half precision that lies transposed, with a gap between its columns.
  View view;
  view.type = DType::kFloat16;
  view.rank = 2;
  view.extent[0] = 5;
  view.extent[1] = 3;
  view.stride[0] = 1;
  view.stride[1] = 7;
  const std::vector<float> plain = {0.5f, -1, 2, 3, 4.25f, 5, 6, 7, 8, -9, 10, 11, 12, 13, 14.125f};
  const DeviceBuffer source = upload(plain);
  const DeviceBuffer strided = stream_->allocate(21 * sizeof(uint16_t));
  const DeviceBuffer back = stream_->allocate(plain.size() * sizeof(float) + kGuard);
  convert_from_plain(*stream_, source.as<const float>(), with_data(view, strided.data()));
  EXPECT_EQ(strided.as<const uint16_t>()[0], float_to_half(0.5f));
  EXPECT_EQ(strided.as<const uint16_t>()[7], float_to_half(-1.0f));
  EXPECT_EQ(strided.as<const uint16_t>()[5], 0xFFFF);  // the gap
  convert_to_plain(*stream_, with_data(view, strided.data()), back.as<float>());
  std::vector<uint8_t> expected(plain.size() * sizeof(float));
  std::memcpy(expected.data(), plain.data(), expected.size());
  EXPECT_EQ(download(back, expected.size()), expected);
}

TEST_F(GpuLayoutTest, ConvertsWhatDoesNotBeginAtAPack) {
  const std::vector<float> values = numbers(37);
  const DeviceBuffer source = upload(values);
  const DeviceBuffer target = stream_->allocate(36 * sizeof(float) + kGuard);
  View view = view_of({DType::kFloat32, {36}}, Layout::kPlain, Precision::kFp32);
  convert_to_plain(*stream_, with_data(view, source.as<const float>() + 1), target.as<float>());
  std::vector<uint8_t> expected(36 * sizeof(float));
  std::memcpy(expected.data(), values.data() + 1, expected.size());
  EXPECT_EQ(download(target, expected.size()), expected);
}

TEST_F(GpuLayoutTest, AddsGradients) {
  for (const int64_t count : {0, 1, 3, 4, 1027}) {
    const std::vector<float> a = numbers(count);
    std::vector<float> b = a;
    std::vector<float> sum = a;
    for (size_t i = 0; i < b.size(); ++i) {
      b[i] = a[b.size() - 1 - i] * 3.1f;
      sum[i] = a[i] + b[i];
    }
    const DeviceBuffer first = upload(a);
    const DeviceBuffer second = upload(b);
    const DeviceBuffer total = stream_->allocate(a.size() * sizeof(float) + kGuard);
    const void* in[] = {first.data(), second.data()};
    void* out[] = {total.data()};
    KernelArgs args;
    args.stream = stream_.get();
    args.grad_outputs = in;
    args.grad_inputs = out;
    prepare_gpu_gradient_sum(count)->run(args, pool_);
    std::vector<uint8_t> expected(sum.size() * sizeof(float));
    if (count > 0) std::memcpy(expected.data(), sum.data(), expected.size());
    EXPECT_EQ(download(total, expected.size()), expected) << count;
  }
}

TEST(Divider, DividesLikeTheProcessor) {
  const std::vector<int64_t> divisors = {
      1,  2,   3,    4,     5,     6,          7,          9,          10,         11,
      49, 127, 1000, 65535, 65537, 2147483629, 2147483647, 2147483648, 4294967297, 1000000007};
  for (const int64_t d : divisors) {
    const Divider divider(d);
    std::vector<int64_t> dividends = {0, 1, 2147483646, 2147483647, 2147483648, 10000000019};
    for (int64_t k = 1; k < 2000; ++k) {
      const int64_t multiple = k * d;
      dividends.insert(dividends.end(), {multiple - 1, multiple, multiple + 1, k * 1073741});
    }
    for (const int64_t n : dividends) {
      int64_t quotient = n;
      const int64_t remainder = divider.split(quotient);
      ASSERT_EQ(quotient, n / d) << n << " / " << d;
      ASSERT_EQ(remainder, n % d) << n << " / " << d;
    }
  }
}

TEST_F(GpuLayoutTest, PreparesPicturesLikeTheProcessor) {
  Image picture(37, 23, 3);
  uint32_t state = 1;
  for (uint8_t& byte : picture.pixels()) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<uint8_t>(state >> 24);
  }
  for (const ChannelOrder order : {ChannelOrder::kRgb, ChannelOrder::kBgr, ChannelOrder::kGray}) {
    Preprocessing recipe;
    recipe.channel_order = order;
    recipe.short_side = 19;
    recipe.crop_height = 17;
    recipe.crop_width = 19;
    if (order == ChannelOrder::kBgr) {
      recipe.scale = 1.0;
      recipe.mean = {103.939, 116.779, 123.68};
      recipe.std = {1.0};
    } else if (order == ChannelOrder::kGray) {
      recipe.mean = {0.449};
      recipe.std = {0.226};
    }
    const Tensor expected = prepare(picture, recipe).tensor;
    const Image fitted = scale_and_crop(picture, recipe);
    const std::vector<uint8_t> pixels(fitted.pixels().begin(), fitted.pixels().end());
    const DeviceBuffer bytes = upload(pixels);
    const DeviceBuffer out = stream_->allocate(expected.bytes() + kGuard);
    prepare_picture(*stream_, bytes.as<const uint8_t>(), fitted.height(), fitted.width(), recipe,
                    out.as<float>());
    std::vector<uint8_t> wanted(expected.bytes());
    std::memcpy(wanted.data(), expected.raw(), wanted.size());
    EXPECT_EQ(download(out, wanted.size()), wanted);
  }
}

}  // namespace
}  // namespace camlucida
