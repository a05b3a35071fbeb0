#pragma once

#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/session.h"

namespace camlucida {

/// Sessions of one network for whoever needs one: planned on first use for an input shape and
/// Needs, lent out, kept for the next. Any number of threads may borrow at once.
class SessionPool {
 public:
  struct Options {
    Device device = Device::kCpu;
    int threads = 1;       ///< per session, 0 = all cores
    size_t max_bytes = 0;  ///< of one session's arena; 0 = physical memory decides
    int max_batch = 8;     ///< rows that `lend_batch` puts in one pass at most
    /// Bytes that a step of one pass may read and write: beyond the cache a row costs more in a
    /// batch than alone. An eighth of the network's weights if that is more.
    size_t cache_bytes = size_t{16} << 20;
  };

  /// A session, lent until this is destroyed.
  class Lease {
   public:
    Lease(SessionPool* pool, std::unique_ptr<Session> session)
        : pool_(pool), session_(std::move(session)) {}
    Lease(Lease&&) = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease();

    Session& operator*() const { return *session_; }
    Session* operator->() const { return session_.get(); }

   private:
    SessionPool* pool_;
    std::unique_ptr<Session> session_;
  };

  /// `graph` outlives the pool. `input`: name of the picture input.
  SessionPool(const Graph& graph, std::string input, Options options)
      : graph_(graph), input_(std::move(input)), options_(options) {}

  const Graph& graph() const { return graph_; }
  const std::string& input() const { return input_; }
  const Options& options() const { return options_; }

  /// Throws what Plan::compile throws. The plan's needs() may name a smaller replay_batch: what
  /// memory and a network written for one picture allow.
  Lease lend(const Shape& input_shape, const Needs& needs);

  /// A session for `count` rows of shape `row_shape` ([1, C, H, W]) in passes of equal size: the
  /// largest batch that max_batch, the cache and memory allow, evened out so that the last pass is
  /// nearly full; one row if the network is written for one picture. The batch is extent 0 of the
  /// plan's input.
  Lease lend_batch(const Shape& row_shape, int64_t count, const Needs& needs);

 private:
  struct Planned {
    Shape input_shape;
    Needs needs;
    std::shared_ptr<const Plan> plan;
    std::vector<std::unique_ptr<Session>> idle;
  };

  std::shared_ptr<const Plan> compile(const Shape& input_shape, const Needs& needs) const;
  int64_t rows_in_cache(const Shape& row_shape);

  const Graph& graph_;
  std::string input_;
  Options options_;
  std::mutex mutex_;
  std::list<Planned> cache_;                               // most recently used first
  std::map<std::vector<int64_t>, int64_t> rows_in_cache_;  // by row shape
};

}  // namespace camlucida
