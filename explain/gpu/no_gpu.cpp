#include "engine/error.h"
#include "explain/gpu/decompose.h"
#include "explain/gpu/full_gradient.h"
#include "explain/gpu/layer_matrix.h"
#include "explain/gpu/layer_rows.h"
#include "explain/gpu/maps.h"
#include "explain/gpu/mask_search.h"
#include "explain/gpu/masks.h"
#include "explain/gpu/pictures.h"
#include "explain/gpu/planes.h"

/// Stands in for this folder in a build without GPUs, where no tensor lies on one and nothing of
/// this is reached.
namespace camlucida::gpu {
namespace {

[[noreturn]] void refuse() {
  throw Error(ErrorKind::kUnsupported, "this build has no GPU support", "use the processor");
}

}  // namespace

using Numbers = std::span<const double>;
using Indices = std::span<const int64_t>;

// planes.h
Tensor plane_weights(const PlaneWeight&, const Tensor&, const Tensor&) { refuse(); }
Tensor plus_plus_weights(const Tensor&, std::span<const Tensor>, int64_t) { refuse(); }
Tensor weighted_sum(const Tensor&, const Tensor&) { refuse(); }
Tensor product_sum(Product, const Tensor&, const Tensor&, const Tensor&) { refuse(); }
Tensor products(Product, const Tensor&, const Tensor&) { refuse(); }
Tensor scaled_channels(const Tensor&, const Tensor&) { refuse(); }
Tensor group_sums(const Tensor&, std::span<const std::vector<double>>, int64_t) { refuse(); }
Tensor hyperbolic_tangent(const Tensor&) { refuse(); }
bool all_zero(const Tensor&) { refuse(); }

// maps.h
Tensor finish_map(const Tensor&, int, int, Tail, Normalisation) { refuse(); }
Tensor enlarged(const Tensor&, int, int, const Enlarging&) { refuse(); }
Tensor each_to_unit(const Tensor&) { refuse(); }

// pictures.h
Tensor zeros(TensorDesc, const std::shared_ptr<Stream>&) { refuse(); }
Tensor copied(const Tensor&, const std::shared_ptr<Stream>&) { refuse(); }
void add_powers(const Tensor&, std::span<Tensor>) { refuse(); }
void noisy_rows(Stream&, const Tensor&, double, uint64_t, int64_t, int64_t, float*) { refuse(); }
void path_rows(Stream&, const Tensor&, const Tensor&, int64_t, int64_t, int64_t, float*) {
  refuse();
}
Tensor over_channels(const Tensor&, gradient::ChannelRule) { refuse(); }
Tensor attribution(const Tensor&, const Tensor&, const Tensor&, double) { refuse(); }
Tensor masked(const Tensor&, const Tensor&) { refuse(); }
Tensor moments(gradient::Moment, const Tensor&, const Tensor&, double) { refuse(); }
double sum(const Tensor&) { refuse(); }
std::pair<float, float> extremes(const Tensor&) { refuse(); }
Tensor of_colour(std::span<const float>, const Shape&, const std::shared_ptr<Stream>&) { refuse(); }
Tensor blur(const Tensor&, Numbers, Indices, Indices) { refuse(); }

// masks.h
Tensor plane_ranges(const Tensor&) { refuse(); }
Tensor enlarged_ranges(const Tensor&, int, int, Corners) { refuse(); }
void masked_rows(Stream&, const Tensor&, const Tensor&, const LayerMasks&, Indices, int64_t,
                 const perturb::MaskChange&, int64_t, int64_t, float*) {
  refuse();
}
Tensor mask_sum(const LayerMasks&, Indices, Numbers) { refuse(); }
void grid_masked_rows(Stream&, const Tensor&, const Tensor&, const GridMasks&, int64_t, int64_t,
                      float*) {
  refuse();
}
Tensor grid_mask_sum(const GridMasks&, Numbers, double, const std::shared_ptr<Stream>&) {
  refuse();
}
void window_rows(Stream&, const Tensor&, const Tensor&, Indices, int64_t, int64_t, int64_t,
                 float*) {
  refuse();
}

// layer_rows.h
void ablated_rows(Stream&, const Tensor&, int64_t, int64_t, float*) { refuse(); }
void pixel_rows(Stream&, const Tensor&, bool, int64_t, int64_t, float*) { refuse(); }
void constant_rows(Stream&, const Tensor&, int64_t, int64_t, int64_t, float*) { refuse(); }

// The rest.
void blended_rows(Stream&, const Tensor&, const Tensor&, std::span<const Tensor>, const ByteSpace&,
                  int64_t, int64_t, float*) {
  refuse();
}
Tensor as_bytes(const Tensor&, const Preprocessing&, bool) { refuse(); }
void add_rescaled(const RescaleForm&, const Tensor&, const Tensor&, Tensor*, Tensor*, int64_t) {
  refuse();
}
std::unique_ptr<LayerMatrix> layer_matrix(const Tensor&, bool, const ChannelChoice*) { refuse(); }
std::unique_ptr<MaskSearch> new_mask_search(Evidence&, Session&, const Target&, const SearchForm&) {
  refuse();
}

}  // namespace camlucida::gpu
