#include <algorithm>

#include "explain/cam/gradcampp_common.h"
#include "explain/random.h"

/// Smooth Grad-CAM++. Omeiza, Speakman, Cintas, Weldermariam: "Smooth Grad-CAM++: An Enhanced
/// Inference Level Visualization Technique for Deep Convolutional Neural Network Models", 2019,
/// arXiv 1908.01224, equations 4 to 6: Grad-CAM++ with the derivatives averaged over n noisy copies
/// of the picture,
///
///     D_j    = mean over m of G_m^j, j = 1, 2, 3       G_m [C, h, w] at x + N(0, sigma^2)
///     a_k(p) = D_2 / (2 D_2 + sum_q A_k(q) D_3)
///     w_k    = sum_p a_k(p) [D_1]+
///     M(p)   = [ sum_k w_k A_k(p) ]+                   A of the picture itself, M [h, w]
///
/// Sigma is in units of the network's input, after mean and deviation. Without noise it is
/// Grad-CAM++. Sample m of a seed has the same noise whatever the batch and the number of samples.
namespace camlucida {
namespace {

/// D_1, D_2, D_3 at every element of the layer, for one target.
struct Derivatives {
  explicit Derivatives(size_t count) : d1(count), d2(count), d3(count) {}

  void add(const float* gradient) {
    for (size_t i = 0; i < d1.size(); ++i) {
      const double g = gradient[i];
      d1[i] += g;
      d2[i] += g * g;
      d3[i] += g * g * g;
    }
  }
  void divide_by(double samples) {
    for (std::vector<double>* d : {&d1, &d2, &d3}) {
      for (double& value : *d) value /= samples;
    }
  }

  std::vector<double> d1, d2, d3;
};

void fill_noisy(const Tensor& input, double sigma, uint64_t seed, int64_t sample, float* row) {
  Random random(seed, static_cast<uint64_t>(sample));
  const float* x = input.floats();
  for (int64_t i = 0; i < input.count(); ++i) {
    row[i] = static_cast<float>(x[i] + sigma * random.normal());
  }
}

std::vector<Derivatives> sample_derivatives(Evidence& evidence, int64_t samples, double sigma,
                                            uint64_t seed) {
  const Subject& subject = evidence.subject();
  const std::vector<Target>& targets = evidence.targets();
  const Tensor& input = evidence.input();
  Needs needs = gradient_needs(subject);
  needs.seeds_per_image = static_cast<int>(targets.size());
  const SessionPool::Lease session = evidence.pool().lend_batch(input.shape(), samples, needs);
  Tensor rows(session->plan().desc(subject.input).shape);
  const int64_t batch = rows.shape()[0];
  const auto elements = static_cast<size_t>(evidence.activation(subject.layer).count());

  std::vector<Derivatives> sums(targets.size(), Derivatives(elements));
  for (int64_t first = 0; first < samples; first += batch) {
    const int64_t used = std::min(batch, samples - first);
    for (int64_t i = 0; i < used; ++i) {
      fill_noisy(input, sigma, seed, first + i, rows.floats() + i * input.count());
    }
    session->forward(rows);
    session->backward(seeds_of(targets, session->activation(subject.score)));
    const Tensor gradients = session->gradient(subject.layer);
    for (size_t t = 0; t < targets.size(); ++t) {
      for (int64_t i = 0; i < used; ++i) {
        const size_t row = t * static_cast<size_t>(batch) + static_cast<size_t>(i);
        sums[t].add(gradients.floats() + row * elements);
      }
    }
    evidence.progress(first + used, samples);
  }
  for (Derivatives& sum : sums) sum.divide_by(static_cast<double>(samples));
  evidence.count({.forwards = samples, .backwards = samples});
  return sums;
}

std::vector<RawMap> explain(Evidence& evidence, Settings& settings) {
  const int64_t samples = settings.integer("samples", 16, 1, 100'000);
  const double sigma = settings.number("sigma", 0.3, 0.0, 1e6);
  const Tensor& activation = evidence.activation(evidence.subject().layer);
  const auto pixels = static_cast<size_t>(activation.shape()[2] * activation.shape()[3]);
  std::vector<RawMap> maps;
  for (const Derivatives& mean : sample_derivatives(evidence, samples, sigma, settings.seed())) {
    std::vector<double> weights(static_cast<size_t>(activation.shape()[1]));
    for (size_t k = 0; k < weights.size(); ++k) {
      double sum = 0.0;
      for (const float a : plane(activation, static_cast<int64_t>(k))) sum += a;
      const auto of_channel = [&](const std::vector<double>& d) {
        return std::span(d).subspan(k * pixels, pixels);
      };
      weights[k] =
          plus_plus_weight(sum, of_channel(mean.d1), of_channel(mean.d2), of_channel(mean.d3), {});
    }
    maps.push_back(map_of_weights(activation, std::move(weights)));
  }
  return maps;
}

}  // namespace

void register_smoothgradcampp(ExplainerRegistry& registry) {
  registry.add(
      {.name = "smoothgradcam++",
       .aliases = {"smoothgradcampp", "smoothgradcamplusplus"},
       .title = "Smooth Grad-CAM++",
       .formula = "Grad-CAM++ with G, G^2, G^3 averaged over noisy pictures",
       .source = "Omeiza et al. 2019, eq. 4-6",
       .forwards = "1 + samples",
       .backwards = "samples",
       .needs = [](const Subject& subject, Settings&) { return activation_needs(subject); },
       .explain = explain});
}

}  // namespace camlucida
