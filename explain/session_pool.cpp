#include "explain/session_pool.h"

#include <algorithm>

#include "engine/cuda/gpu.h"
#include "engine/passes/passes.h"

namespace camlucida {
namespace {

/// Plans kept beside each other, unless their packed weights together exceed this.
constexpr size_t kCachedPlans = 16;
constexpr size_t kCachedBytes = size_t{1} << 30;
/// Rows of one pass unless the caller says how many. A GPU needs many to be busy.
constexpr int64_t kRowsOnProcessor = 8;
constexpr int64_t kRowsOnGpu = 128;

/// The batch to try after `batch` failed: half if memory was short, one if the network cannot take
/// several pictures (its shapes are written for one). Throws the error again if nothing is left.
int64_t smaller_batch(int64_t batch, const Error& error) {
  if (batch <= 1) throw;
  if (error.kind() == ErrorKind::kResource) return batch / 2;
  if (error.kind() == ErrorKind::kModel) return 1;
  throw;
}

/// Whether the results have a row per picture. Networks written for one picture may also bind to
/// several and mix them.
bool has_rows(const Plan& plan, int64_t rows) {
  return std::all_of(plan.output_names().begin(), plan.output_names().end(),
                     [&](const std::string& name) {
                       const Shape& shape = plan.desc(name).shape;
                       return shape.rank() > 0 && shape[0] == rows;
                     });
}

}  // namespace

/// Plans and takes the memory of a first session, with a smaller replay_batch than asked where
/// memory or the network demand it.
std::pair<std::shared_ptr<const Plan>, std::unique_ptr<Session>> SessionPool::make(
    const Shape& input_shape, const Needs& needs) {
  Needs tried = needs;
  while (true) {
    try {
      auto plan = Plan::compile(
          graph_, {{input_, input_shape}}, tried,
          {.gpu = options_.gpu, .precision = options_.precision, .max_bytes = options_.max_bytes});
      const Plan* replay = plan->replay_plan().get();
      if (replay == nullptr || tried.replay_batch == 1 || has_rows(*replay, tried.replay_batch)) {
        auto session = std::make_unique<Session>(plan, options_.threads);
        return {std::move(plan), std::move(session)};
      }
      tried.replay_batch = 1;
    } catch (const Error& error) {
      if (make_room(error)) continue;
      const int before = tried.replay_batch;
      tried.replay_batch = static_cast<int>(smaller_batch(before, error));
      if (error.kind() == ErrorKind::kResource) note_smaller(before, tried.replay_batch);
    }
  }
}

/// Lets go of what is kept for later on a GPU: first the memory of idle sessions, then the weights
/// of their plans. False if that would not help.
bool SessionPool::make_room(const Error& error) {
  if (options_.gpu == nullptr || error.kind() != ErrorKind::kResource) return false;
  const std::lock_guard lock(mutex_);
  bool found = false;
  for (Planned& planned : cache_) {
    found = found || !planned.idle.empty();
    planned.idle.clear();
  }
  if (found) return true;
  found = !cache_.empty();
  cache_.clear();
  return found;
}

void SessionPool::note_smaller(int64_t before, int64_t now) const {
  if (!options_.notice) return;
  options_.notice((options_.gpu != nullptr ? "GPU memory" : "memory") +
                  (" is short: " + std::to_string(now)) + " variants in one pass instead of " +
                  std::to_string(before));
}

SessionPool::Lease SessionPool::lend(const Shape& input_shape, const Needs& needs) {
  std::shared_ptr<const Plan> plan;
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(cache_.begin(), cache_.end(), [&](const Planned& planned) {
      return planned.input_shape == input_shape && planned.needs == needs;
    });
    if (found != cache_.end()) {
      cache_.splice(cache_.begin(), cache_, found);
      plan = found->plan;
      if (!found->idle.empty()) {
        std::unique_ptr<Session> session = std::move(found->idle.back());
        found->idle.pop_back();
        return Lease(this, std::move(session));
      }
    }
  }
  while (plan != nullptr) {
    try {
      return Lease(this, std::make_unique<Session>(plan, options_.threads));
    } catch (const Error& error) {
      if (!make_room(error)) throw;
    }
  }
  auto [made, session] = make(input_shape, needs);
  const std::lock_guard lock(mutex_);
  cache_.push_front({input_shape, needs, std::move(made), {}});
  size_t bytes = 0;
  size_t kept = 0;
  for (auto it = cache_.begin(); it != cache_.end();) {
    bytes += it->plan->packed_bytes();
    const bool keep = kept == 0 || (kept < kCachedPlans && bytes <= kCachedBytes);
    ++kept;
    it = keep ? std::next(it) : cache_.erase(it);
  }
  return Lease(this, std::move(session));
}

SessionPool::Footprint SessionPool::footprint(const Shape& row_shape) {
  {
    const std::lock_guard lock(mutex_);
    const auto known = footprints_.find(row_shape.dims());
    if (known != footprints_.end()) return known->second;
  }
  Footprint footprint;
  const Graph bound = bind_shapes(graph_, {{input_, row_shape}});
  for (const Node& node : bound.nodes()) {
    int64_t bytes = 0;
    for (const ValueId id : node.inputs) {
      if (id == kNone) continue;
      const Value& value = bound.value(id);
      (value.is_constant() ? footprint.weights : bytes) += value.desc.bytes();
    }
    for (const ValueId id : node.outputs) {
      if (id == kNone) continue;
      bytes += bound.value(id).desc.bytes();
      footprint.values += bound.value(id).desc.bytes();
    }
    footprint.step = std::max(footprint.step, bytes);
  }
  const std::lock_guard lock(mutex_);
  return footprints_[row_shape.dims()] = footprint;
}

int64_t SessionPool::most_rows(const Shape& row_shape, const Needs& needs) {
  const Footprint row = footprint(row_shape);
  if (options_.gpu == nullptr) {
    // What a step reads and writes of one row, and all weights, which every pass reads once: VGG-16
    // has so many of them that two rows a pass are faster than one, beyond the cache or not.
    const int64_t budget =
        std::max<int64_t>(static_cast<int64_t>(options_.cache_bytes), row.weights / 8);
    const int64_t limit = options_.max_batch > 0 ? options_.max_batch : kRowsOnProcessor;
    return std::clamp<int64_t>(budget / row.step, 1, limit);
  }
  // A guess that spares plans which could not run: half of what is free, for a few large values at
  // a time, or for all of them and their gradients.
  const int64_t bytes =
      needs.gradient_to.empty() ? 3 * row.step : row.values * (1 + needs.seeds_per_image);
  size_t free = options_.gpu->free_bytes();
  {
    const std::lock_guard lock(mutex_);  // what make_room gives back is as good as free
    for (const Planned& one : cache_) free += one.idle.size() * one.plan->arena_bytes();
  }
  const auto budget = static_cast<int64_t>(free / 2);
  const int64_t limit = options_.max_batch > 0 ? options_.max_batch : kRowsOnGpu;
  return std::clamp<int64_t>(budget / std::max<int64_t>(bytes, 1), 1, limit);
}

SessionPool::Lease SessionPool::lend_batch(const Shape& row_shape, int64_t count,
                                           const Needs& needs, int64_t most) {
  int64_t batch = std::clamp<int64_t>(count, 1, std::min(most_rows(row_shape, needs), most));
  while (true) {
    const int64_t passes = std::max<int64_t>((count + batch - 1) / batch, 1);
    Shape shape = row_shape;
    shape[0] = std::max<int64_t>((count + passes - 1) / passes, 1);
    try {
      Lease lease = lend(shape, needs);
      if (shape[0] == 1 || has_rows(lease->plan(), shape[0])) return lease;
      batch = 1;
    } catch (const Error& error) {
      batch = smaller_batch(shape[0], error);
      if (error.kind() == ErrorKind::kResource) note_smaller(shape[0], batch);
    }
  }
}

void SessionPool::in_passes(const Shape& row_shape, int64_t count, const Needs& needs,
                            const RunPass& body) {
  int64_t most = std::numeric_limits<int64_t>::max();
  int64_t first = 0;
  while (first < count) {
    const Lease session = lend_batch(row_shape, count - first, needs, most);
    const int64_t batch = session->plan().desc(input_).shape[0];
    try {
      for (; first < count; first += batch) {
        body(*session, first, std::min(batch, count - first));
      }
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kResource || batch == 1) throw;
      most = batch / 2;
      note_smaller(batch, most);
    }
  }
}

SessionPool::Lease::~Lease() {
  if (session_ == nullptr) return;
  const std::lock_guard lock(pool_->mutex_);
  for (Planned& planned : pool_->cache_) {
    if (planned.plan.get() == &session_->plan()) {
      planned.idle.push_back(std::move(session_));
      return;
    }
  }
}

}  // namespace camlucida
