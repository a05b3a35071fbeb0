#include "engine/image/blur.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "engine/error.h"
#include "tests/shared.h"

namespace camlucida {
namespace {

const Tensor kMap = Tensor::from_floats(Shape{3, 4}, {-4, 0, 4, -3, 1, 5, -2, 2, 6, -1, 3, -4});

void expect_near(const Tensor& mine, const std::vector<float>& expected) {
  ASSERT_EQ(static_cast<size_t>(mine.count()), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(mine.floats()[i], expected[i], 2e-6);
}

// The expected values come from a direct two-dimensional sum over maps padded by numpy.pad in the
// modes "symmetric", "reflect" and "constant".

TEST(Blur, MirroredBorderRepeatsTheEdgeAsOftenAsNeeded) {
  expect_near(gaussian_blur(kMap, 1.5),  // radius 6, twice the height
              {0.4413635f, 0.4888763f, 0.3260884f, 0.04457142f, 1.071876f, 0.868402f, 0.4248508f,
               -0.00540621f, 1.684325f, 1.23041f, 0.5040133f, -0.07937071f});
}

TEST(Blur, ReflectedBorderDoesNotRepeatTheEdge) {
  expect_near(blur(kMap, gaussian_kernel(3, 2), Border::kReflect),
              {1.50605f, 1.064521f, 0.8500062f, 0.815284f, 1.465273f, 1.296448f, 0.8033629f,
               1.01936f, 1.312219f, 0.8883988f, 0.7214713f, 0.9491416f});
}

TEST(Blur, ZeroBorderDarkensTheEdge) {
  expect_near(blur(kMap, gaussian_kernel(3, 2), Border::kZero),
              {0.4496489f, 0.3169498f, 0.2749084f, 0.1536196f, 0.5164614f, 0.3695214f, 0.3169985f,
               0.1484089f, 0.5311015f, 0.3832f, 0.3253933f, 0.1265122f});
}

TEST(Blur, ConfinedKernelFoldsItsTailsBack) {
  const std::vector<double> kernel = confined_gaussian_kernel(2, 2);
  const std::vector<double> expected = {0.1862507, 0.2052477, 0.2170033, 0.2052477, 0.1862507};
  ASSERT_EQ(kernel.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(kernel[i], expected[i], 1e-7);
  EXPECT_NEAR(std::accumulate(kernel.begin(), kernel.end(), 0.0), 1.0, 1e-14);
}

TEST(Blur, ConstantStaysConstantUnlessTheBorderIsZero) {
  Tensor maps(Shape{2, 7, 9});
  std::fill_n(maps.floats(), maps.count(), 0.375f);
  for (const Border border : {Border::kMirror, Border::kReflect}) {
    const Tensor blurred = blur(maps, gaussian_kernel(10, 40), border);
    for (const float v : blurred.as<float>()) EXPECT_NEAR(v, 0.375f, 1e-7);
  }
  EXPECT_LT(blur(maps, gaussian_kernel(10, 40), Border::kZero).floats()[0], 0.1f);
}

TEST(Blur, MirroredBorderKeepsTheMean) {
  Tensor map(Shape{1, 1, 6, 11});
  for (int64_t i = 0; i < map.count(); ++i) map.floats()[i] = static_cast<float>((i * 29) % 17);
  const std::vector<double> before = map.to_doubles();
  const std::vector<double> after = gaussian_blur(map, 2.0).to_doubles();
  EXPECT_NEAR(std::accumulate(before.begin(), before.end(), 0.0),
              std::accumulate(after.begin(), after.end(), 0.0), 1e-4);
}

TEST(Blur, LeadingAxesAreSeparateMaps) {
  Tensor maps(Shape{2, 3, 5, 4});
  for (int64_t i = 0; i < maps.count(); ++i) maps.floats()[i] = std::sin(static_cast<float>(i));
  const Tensor together = gaussian_blur(maps, 1.0);
  for (int64_t i = 0; i < 6; ++i) {
    Tensor one(Shape{5, 4});
    std::copy_n(maps.floats() + i * 20, 20, one.floats());
    const Tensor alone = gaussian_blur(one, 1.0);
    for (int64_t p = 0; p < 20; ++p) EXPECT_EQ(together.floats()[i * 20 + p], alone.floats()[p]);
  }
}

TEST(Blur, OnePixelStaysAsItIs) {
  const Tensor pixel = Tensor::from_floats(Shape{1, 1}, {2.5f});
  for (const Border border : {Border::kMirror, Border::kReflect}) {
    EXPECT_NEAR(blur(pixel, gaussian_kernel(3, 7), border).floats()[0], 2.5f, 1e-6);
  }
  EXPECT_EQ(blur(kMap, gaussian_kernel(3, 0), Border::kZero).to_doubles(), kMap.to_doubles());
}

TEST(Blur, RefusesWhatItCannotDo) {
  EXPECT_ERROR(gaussian_kernel(0, 3), kUsage, "sigma");
  EXPECT_ERROR(gaussian_kernel(NAN, 3), kUsage, "sigma");
  EXPECT_ERROR(gaussian_kernel(1, -1), kUsage, "radius");
  EXPECT_ERROR(confined_gaussian_kernel(1e12, 3), kUsage, "radius");
  EXPECT_ERROR(gaussian_blur(kMap, INFINITY), kUsage, "sigma");
  EXPECT_ERROR(blur(kMap, std::vector<double>{0.5, 0.5}, Border::kZero), kUsage, "odd");
  EXPECT_ERROR(gaussian_blur(Tensor(), 1), kUsage, "shape");
  EXPECT_ERROR(gaussian_blur(Tensor(Shape{3}), 1), kUsage, "[3]");
  EXPECT_ERROR(gaussian_blur(Tensor(Shape{3, 4}, DType::kUint8), 1), kUsage, "cannot blur");
}

}  // namespace
}  // namespace camlucida
