#include <algorithm>

#include "engine/cuda/device_tensor.h"
#include "engine/image/resample.h"
#include "explain/cam/cam_common.h"
#include "explain/gpu/maps.h"
#include "explain/gpu/pictures.h"
#include "explain/gradient/picture_common.h"

/// Guided Grad-CAM. Selvaraju et al.: "Grad-CAM: Visual Explanations from Deep Networks via
/// Gradient-based Localization", ICCV 2017, section 3.2.
///
///     L = [ sum_k mean_p(G_k) A_k ]+      Grad-CAM at the layer, [h, w]
///     g                                   guided back-propagation at the picture, [C, H, W]
///     a_c = U(L) g_c,   M(p) = sum_c a_c(p)                     U: bilinear to [H, W]
///
/// The artefact "attribution" is a [C, H, W]; "gradient" is g.
namespace camlucida {
namespace {

/// The guided gradient at the picture of every target, [T, C, H, W]. The layer's gradient is the
/// plain one, so this is a run of its own.
Tensor guided_gradients(Evidence& evidence) {
  const Subject& subject = evidence.subject();
  Needs needs = gradient::picture_needs(subject, "guided");
  needs.seeds_per_image = static_cast<int>(evidence.targets().size());
  const SessionPool::Lease session = evidence.pool().lend(evidence.input().shape(), needs);
  session->forward(evidence.input());
  session->backward(seeds_of(evidence.targets(), session->activation(subject.score)));
  evidence.count({.forwards = 1, .backwards = 1});
  return evidence.keep(session->gradient(subject.input));
}

/// U([L]+) g, float64 [C, H, W].
Tensor attribution_of(const Tensor& map, const Tensor& guided) {
  const auto height = static_cast<int>(guided.shape()[1]);
  const auto width = static_cast<int>(guided.shape()[2]);
  if (on_device(guided)) {
    return gpu::masked(gpu::enlarged(map, height, width, {.rectify = true}), guided);
  }
  Tensor coarse = map.clone();
  for (float& value : coarse.as<float>()) value = std::max(value, 0.0f);
  const Tensor mask = resize_bilinear(coarse, height, width);
  const std::span<const float> weights = mask.as<float>();
  const std::span<const float> g = guided.as<float>();
  Tensor attribution(guided.shape(), DType::kFloat64);
  const std::span<double> a = attribution.as<double>();
  for (size_t i = 0; i < a.size(); ++i) a[i] = double{weights[i % weights.size()]} * g[i];
  return attribution;
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const gradient::ChannelRule channels = gradient::read_channels(settings, "signed-sum");
  const Tensor guided = guided_gradients(evidence);
  std::vector<RawMap> maps = maps_of_weights(evidence, mean_gradient);
  for (size_t t = 0; t < maps.size(); ++t) {
    const Tensor own = gradient::without_batch(guided.rows(static_cast<int64_t>(t), 1));
    const Tensor attribution = attribution_of(maps[t].raw, own);
    maps[t].raw = gradient::over_channels(attribution, channels);
    maps[t].artefacts["attribution"] = attribution;
    maps[t].artefacts["gradient"] = own;
  }
  return maps;
}

}  // namespace

void register_guidedgradcam(ExplainerRegistry& registry) {
  registry.add({.name = "guidedgradcam",
                .aliases = {},
                .title = "Guided Grad-CAM",
                .formula = "Grad-CAM enlarged, times guided back-propagation",
                .source = "Selvaraju et al. 2017, sec. 3.2",
                .forwards = "2",
                .backwards = "2, one to the picture",
                .uses_gradient = true,
                .needs = [](const Subject& subject, Settings&) { return gradient_needs(subject); },
                .explain = explain});
}

}  // namespace camlucida
