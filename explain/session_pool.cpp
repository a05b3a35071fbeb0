#include "explain/session_pool.h"

#include <algorithm>

#include "engine/passes/passes.h"

namespace camlucida {
namespace {

/// Plans kept beside each other, unless their packed weights together exceed this.
constexpr size_t kCachedPlans = 16;
constexpr size_t kCachedBytes = size_t{1} << 30;

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

std::shared_ptr<const Plan> SessionPool::compile(const Shape& input_shape,
                                                 const Needs& needs) const {
  Needs tried = needs;
  while (true) {
    try {
      auto plan = Plan::compile(graph_, {{input_, input_shape}}, tried,
                                {.device = options_.device, .max_bytes = options_.max_bytes});
      const Plan* replay = plan->replay_plan().get();
      if (replay == nullptr || tried.replay_batch == 1 || has_rows(*replay, tried.replay_batch)) {
        return plan;
      }
      tried.replay_batch = 1;
    } catch (const Error& error) {
      tried.replay_batch = static_cast<int>(smaller_batch(tried.replay_batch, error));
    }
  }
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
  if (plan == nullptr) {
    plan = compile(input_shape, needs);
    const std::lock_guard lock(mutex_);
    cache_.push_front({input_shape, needs, plan, {}});
    size_t bytes = 0;
    size_t kept = 0;
    for (auto it = cache_.begin(); it != cache_.end();) {
      bytes += it->plan->packed_bytes();
      const bool keep = kept == 0 || (kept < kCachedPlans && bytes <= kCachedBytes);
      ++kept;
      it = keep ? std::next(it) : cache_.erase(it);
    }
  }
  return Lease(this, std::make_unique<Session>(plan, options_.threads));
}

int64_t SessionPool::rows_in_cache(const Shape& row_shape) {
  {
    const std::lock_guard lock(mutex_);
    const auto known = rows_in_cache_.find(row_shape.dims());
    if (known != rows_in_cache_.end()) return known->second;
  }
  // What a step reads and writes of one row, and all weights, which every pass reads once: VGG-16
  // has so many of them that two rows a pass are faster than one, beyond the cache or not.
  int64_t step_bytes = 1;
  int64_t weight_bytes = 0;
  const Graph bound = bind_shapes(graph_, {{input_, row_shape}});
  for (const Node& node : bound.nodes()) {
    int64_t bytes = 0;
    for (const ValueId id : node.inputs) {
      if (id == kNone) continue;
      const Value& value = bound.value(id);
      (value.is_constant() ? weight_bytes : bytes) += value.desc.bytes();
    }
    for (const ValueId id : node.outputs) {
      if (id != kNone) bytes += bound.value(id).desc.bytes();
    }
    step_bytes = std::max(step_bytes, bytes);
  }
  const int64_t budget =
      std::max<int64_t>(static_cast<int64_t>(options_.cache_bytes), weight_bytes / 8);
  const int64_t rows = std::max<int64_t>(budget / step_bytes, 1);
  const std::lock_guard lock(mutex_);
  return rows_in_cache_[row_shape.dims()] = rows;
}

SessionPool::Lease SessionPool::lend_batch(const Shape& row_shape, int64_t count,
                                           const Needs& needs) {
  const int64_t limit = std::min<int64_t>(options_.max_batch, rows_in_cache(row_shape));
  int64_t batch = std::clamp<int64_t>(count, 1, std::max<int64_t>(limit, 1));
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
