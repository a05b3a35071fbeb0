#include "explain/model_state.h"

namespace camlucida {
namespace {

/// Plans kept beside each other: a plan holds packed weights, so not many.
constexpr size_t kCachedPlans = 4;

}  // namespace

LentSession::LentSession(ModelState& state, const Shape& input_shape, const Needs& needs)
    : state_(state) {
  {
    const std::lock_guard lock(state.mutex);
    for (ModelState::Planned& planned : state.cache) {
      if (planned.input_shape != input_shape || !(planned.needs == needs)) continue;
      plan_ = planned.plan;
      if (!planned.idle.empty()) {
        session_ = std::move(planned.idle.back());
        planned.idle.pop_back();
      }
      break;
    }
  }
  if (plan_ == nullptr) {
    plan_ = Plan::compile(state.graph, {{state.input, input_shape}}, needs,
                          {.device = state.options.device});
    const std::lock_guard lock(state.mutex);
    state.cache.push_front({input_shape, needs, plan_, {}});
    if (state.cache.size() > kCachedPlans) state.cache.pop_back();
  }
  if (session_ == nullptr) session_ = std::make_unique<Session>(plan_, state.options.threads);
}

LentSession::~LentSession() {
  const std::lock_guard lock(state_.mutex);
  for (ModelState::Planned& planned : state_.cache) {
    if (planned.plan == plan_) {
      planned.idle.push_back(std::move(session_));
      return;
    }
  }
}

}  // namespace camlucida
