#include <algorithm>
#include <cstring>

#include "engine/cost.h"
#include "engine/cpu/layout.h"
#include "layers/shape/channel_map.h"

namespace camlucida::shape {
namespace {

/// Consecutive lanes of one target block that come from consecutive lanes of one source block.
struct LaneRun {
  int tensor;
  int64_t source_block;
  int64_t source_lane;
  int64_t lane;
  int64_t length;
};

/// The runs of one target block, in the order of its lanes.
std::vector<LaneRun> lane_runs(const std::vector<ChannelMap::Channel>& target, int64_t block_index,
                               int64_t block) {
  std::vector<LaneRun> runs;
  for (int64_t lane = 0; lane < block; ++lane) {
    const int64_t c = block_index * block + lane;
    ChannelMap::Channel from;
    if (c < static_cast<int64_t>(target.size())) from = target[static_cast<size_t>(c)];
    if (from.tensor == ChannelMap::kZero) from.channel = lane;  // so that zeros join to one run
    const int64_t source_lane = from.channel % block;
    if (!runs.empty()) {
      LaneRun& last = runs.back();
      if (last.tensor == from.tensor && last.source_block == from.channel / block &&
          last.source_lane + last.length == source_lane) {
        ++last.length;
        continue;
      }
    }
    runs.push_back({from.tensor, from.channel / block, source_lane, lane, 1});
  }
  return runs;
}

class ChannelMapKernel final : public PreparedKernel {
 public:
  ChannelMapKernel(const ChannelMap& map, bool backward)
      : batch_(map.batch), pixels_(map.pixels), block_(simd_block()), backward_(backward) {
    for (int64_t channels : map.sources) source_blocks_.push_back(channel_blocks(channels, block_));
    for (size_t t = 0; t < map.targets.size(); ++t) {
      const std::vector<ChannelMap::Channel>& target = map.targets[t];
      const int64_t blocks = channel_blocks(static_cast<int64_t>(target.size()), block_);
      for (int64_t b = 0; b < blocks; ++b) {
        jobs_.push_back({t, b, blocks, lane_runs(target, b, block_)});
      }
    }
  }

  void run(const KernelArgs& args, ThreadPool& pool) const override {
    const void* const* sources = backward_ ? args.grad_outputs : args.inputs;
    void* const* targets = backward_ ? args.grad_inputs : args.outputs;
    const auto jobs = static_cast<int64_t>(jobs_.size());
    pool.run(batch_ * jobs, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const Job& job = jobs_[static_cast<size_t>(i % jobs)];
        auto* target = static_cast<float*>(targets[job.target]);
        if (target == nullptr) continue;
        const int64_t plane = i / jobs * job.blocks + job.block;
        fill_block(job, sources, i / jobs, target + plane * pixels_ * block_);
      }
    });
  }

 private:
  struct Job {
    size_t target;
    int64_t block;
    int64_t blocks;  // of the target
    std::vector<LaneRun> runs;
  };

  /// Writes one block [pixels, b] of image n, some pixels at a time so that the runs of a block
  /// meet in the cache.
  void fill_block(const Job& job, const void* const* sources, int64_t n, float* target) const {
    constexpr int64_t kTile = 128;
    const bool whole = job.runs.size() == 1;
    const int64_t step = whole ? pixels_ : kTile;
    for (int64_t start = 0; start < pixels_; start += step) {
      const int64_t count = std::min(step, pixels_ - start);
      for (const LaneRun& run : job.runs) {
        float* to = target + start * block_ + run.lane;
        const float* from = nullptr;
        if (run.tensor != ChannelMap::kZero && sources[run.tensor] != nullptr) {
          const int64_t plane =
              n * source_blocks_[static_cast<size_t>(run.tensor)] + run.source_block;
          from = static_cast<const float*>(sources[run.tensor]) +
                 (plane * pixels_ + start) * block_ + run.source_lane;
        }
        copy_lanes(from, to, run.length, count);
      }
    }
  }

  void copy_lanes(const float* from, float* to, int64_t length, int64_t pixels) const {
    if (length == block_) {
      if (from == nullptr) {
        std::fill_n(to, pixels * block_, 0.0f);
      } else {
        std::memcpy(to, from, static_cast<size_t>(pixels * block_) * sizeof(float));
      }
      return;
    }
    if (from == nullptr) {
      for (int64_t p = 0; p < pixels; ++p) std::fill_n(to + p * block_, length, 0.0f);
    } else if (length == 1) {
      for (int64_t p = 0; p < pixels; ++p) to[p * block_] = from[p * block_];
    } else {
      for (int64_t p = 0; p < pixels; ++p) {
        for (int64_t lane = 0; lane < length; ++lane)
          to[p * block_ + lane] = from[p * block_ + lane];
      }
    }
  }

  int64_t batch_;
  int64_t pixels_;
  int64_t block_;
  bool backward_;
  std::vector<int64_t> source_blocks_;
  std::vector<Job> jobs_;
};

}  // namespace

std::unique_ptr<PreparedKernel> prepare_channel_map(const ChannelMap& map, bool backward) {
  return std::make_unique<ChannelMapKernel>(map, backward);
}

double channel_map_cost(const ChannelMap& map) {
  const int64_t block = simd_block();
  double ns = cost::kStepNs;
  for (const std::vector<ChannelMap::Channel>& target : map.targets) {
    const int64_t blocks = channel_blocks(static_cast<int64_t>(target.size()), block);
    for (int64_t b = 0; b < blocks; ++b) {
      const size_t runs = lane_runs(target, b, block).size();
      const double slower = runs == 1 ? 1.0 : 3.0 + static_cast<double>(runs) / 8.0;
      ns += slower * cost::bytes(2 * map.batch * map.pixels * block * 4);
    }
  }
  return ns;
}

}  // namespace camlucida::shape
