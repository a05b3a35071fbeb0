#pragma once

#include <list>
#include <mutex>

#include "explain/model.h"

namespace camlucida {

/// What a Model holds. Everything but the cache is written once, in Model::load.
struct ModelState {
  std::filesystem::path path;
  std::string name;
  ModelOptions options;
  Graph graph;
  Graph bound;
  std::string input;
  std::string score;
  std::string score_reason;
  Preprocessing preprocessing;
  std::string preprocessing_source;
  Labels labels;
  std::optional<Manifest> manifest;

  /// Plans by input shape and needs, newest first, each with the sessions nobody uses right now.
  struct Planned {
    Shape input_shape;
    Needs needs;
    std::shared_ptr<const Plan> plan;
    std::vector<std::unique_ptr<Session>> idle;
  };
  std::mutex mutex;
  std::list<Planned> cache;
};

/// A session lent from the cache for one call; goes back when destroyed.
class LentSession {
 public:
  LentSession(ModelState& state, const Shape& input_shape, const Needs& needs);
  ~LentSession();
  LentSession(const LentSession&) = delete;
  LentSession& operator=(const LentSession&) = delete;

  Session& operator*() const { return *session_; }
  Session* operator->() const { return session_.get(); }

 private:
  ModelState& state_;
  std::shared_ptr<const Plan> plan_;
  std::unique_ptr<Session> session_;
};

}  // namespace camlucida
