#include "explain/session_pool.h"

#include <algorithm>

namespace camlucida {
namespace {

/// Plans kept beside each other, unless their packed weights together exceed this.
constexpr size_t kCachedPlans = 16;
constexpr size_t kCachedBytes = size_t{1} << 30;

}  // namespace

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
    plan = Plan::compile(graph_, {{input_, input_shape}}, needs,
                         {.device = options_.device, .max_bytes = options_.max_bytes});
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

SessionPool::Lease SessionPool::lend_batch(const Shape& row_shape, int64_t count,
                                           const Needs& needs) {
  int64_t batch = std::clamp<int64_t>(count, 1, std::max(options_.max_batch, 1));
  while (true) {
    const int64_t passes = (count + batch - 1) / batch;
    Shape shape = row_shape;
    shape[0] = std::max<int64_t>((count + passes - 1) / std::max<int64_t>(passes, 1), 1);
    try {
      return lend(shape, needs);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kResource || batch == 1) throw;
      batch /= 2;
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
