#pragma once

#include <functional>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine/session.h"

namespace camlucida {

/// Sessions of one network for whoever needs one: planned on first use for an input shape and
/// Needs, lent out, kept for the next. Any number of threads may borrow at once.
class SessionPool {
 public:
  struct Options {
    std::shared_ptr<Gpu> gpu = nullptr;  ///< null: the processor
    Precision precision = Precision::kFp32;
    int threads = 1;       ///< per session, 0 = all cores
    size_t max_bytes = 0;  ///< of one session's arena; 0 = the memory there is decides
    /// Rows that `lend_batch` puts in one pass at most; 0 = 8 on the processor, 128 on a GPU.
    int max_batch = 0;
    /// On the processor: bytes that a step of one pass may read and write, because beyond the cache
    /// a row costs more in a batch than alone. An eighth of the network's weights if that is more.
    size_t cache_bytes = size_t{16} << 20;
    /// Told, in one line, when memory was short and a run goes on in smaller passes. From the
    /// thread that runs; may be empty.
    std::function<void(const std::string&)> notice = {};
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
      : graph_(graph), input_(std::move(input)), options_(std::move(options)) {}

  const Graph& graph() const { return graph_; }
  const std::string& input() const { return input_; }
  const Options& options() const { return options_; }

  /// Throws what Plan::compile and Session throw. The plan's needs() may name a smaller
  /// replay_batch: what memory and a network written for one picture allow. Before a GPU counts as
  /// full, sessions that wait here for the next call are let go.
  Lease lend(const Shape& input_shape, const Needs& needs);

  /// A session for `count` rows of shape `row_shape` ([1, C, H, W]) in passes of equal size: the
  /// largest batch that max_batch, the cache (on a GPU: its memory) and memory allow, evened out so
  /// that the last pass is nearly full; one row if the network is written for one picture. The
  /// batch is extent 0 of the plan's input. `most` rows at most.
  Lease lend_batch(const Shape& row_shape, int64_t count, const Needs& needs,
                   int64_t most = std::numeric_limits<int64_t>::max());

  /// Runs `count` rows in passes of lend_batch: calls body(session, first, rows) for each, with
  /// rows <= the batch. Where it throws Error(kResource), half the batch is tried from that pass
  /// on, until there is one row: so it must change nothing before the last thing that may throw.
  using RunPass = std::function<void(Session& session, int64_t first, int64_t rows)>;
  void in_passes(const Shape& row_shape, int64_t count, const Needs& needs, const RunPass& body);

  /// Tells Options::notice that passes are of `now` rows instead of `before` for want of memory.
  void note_smaller(int64_t before, int64_t now) const;

 private:
  struct Planned {
    Shape input_shape;
    Needs needs;
    std::shared_ptr<const Plan> plan;
    std::vector<std::unique_ptr<Session>> idle;
  };

  /// Bytes that one row takes in a plain run.
  struct Footprint {
    int64_t step = 1;     ///< the largest step: what it reads and writes, without weights
    int64_t values = 0;   ///< all values together
    int64_t weights = 0;  ///< of the network, not per row
  };

  std::pair<std::shared_ptr<const Plan>, std::unique_ptr<Session>> make(const Shape& input_shape,
                                                                        const Needs& needs);
  bool make_room(const Error& error);
  Footprint footprint(const Shape& row_shape);
  int64_t most_rows(const Shape& row_shape, const Needs& needs);

  const Graph& graph_;
  std::string input_;
  Options options_;
  std::mutex mutex_;
  std::list<Planned> cache_;                              // most recently used first
  std::map<std::vector<int64_t>, Footprint> footprints_;  // by row shape
};

}  // namespace camlucida
