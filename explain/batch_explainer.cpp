#include "explain/batch_explainer.h"

#include <algorithm>
#include <exception>

#include "explain/batch_pass.h"
#include "explain/picture_run.h"
#include "explain/residence.h"
#include "explain/stopwatch.h"

namespace camlucida {
namespace {

/// Whether everything that evidence reads has a row per picture.
bool has_rows(const Plan& plan, int64_t rows) {
  const auto fits = [&](const std::string& name) {
    const Shape& shape = plan.desc(name).shape;
    return shape.rank() > 0 && shape[0] == rows;
  };
  const Needs& needs = plan.needs();
  return std::all_of(needs.taps.begin(), needs.taps.end(), fits) &&
         std::all_of(needs.gradient_to.begin(), needs.gradient_to.end(), fits);
}

}  // namespace

class BatchExplainer::Work {
 public:
  Work(const Model& model, ModelState& state, ExplainOptions options, size_t expected)
      : model_(model),
        state_(state),
        options_(std::move(options)),
        expected_(std::max<int64_t>(static_cast<int64_t>(expected), 1)),
        most_(model.takes_batches() && !options_.aug_smooth ? expected_ : 1) {}

  size_t batch(const Shape& picture);
  void limit(size_t rows);
  void start(std::vector<PictureToExplain> pictures);
  size_t size() const { return pictures_.size(); }
  Answer explain(size_t i);

 private:
  void bind(const Shape& picture);
  bool needs_gradients() const;
  int most_targets() const;
  void plan(int targets);
  void plan_batch();
  void drop();
  void make_batch(size_t first);
  Answer explain_in_batch(size_t i);
  Answer explain_alone(size_t i);

  const Model& model_;
  ModelState& state_;
  const ExplainOptions options_;
  const int64_t expected_;
  int64_t most_;  // rows of one pass

  std::unique_ptr<ExplainCall> call_;  // for the shape of the pictures
  std::vector<ExplainCall::Group> shared_;
  std::vector<size_t> alone_;  // requests that share nothing
  bool planned_ = false;
  int targets_ = 1;                           // of one picture, planned for
  int64_t rows_ = 1;                          // of the plans
  std::vector<SessionPool::Lease> sessions_;  // by shared group; empty if rows_ is 1

  std::vector<PictureToExplain> pictures_;
  // The batch whose passes were made, by row.
  size_t first_ = 0;
  std::vector<std::unique_ptr<PictureRun>> runs_;  // null: explained
  std::vector<std::exception_ptr> failures_;
  std::vector<std::shared_ptr<BatchPass>> passes_;  // by shared group
};

BatchExplainer::BatchExplainer(const Model& model, ExplainOptions options, size_t expected)
    : work_(std::make_unique<Work>(model, *model.state_, std::move(options), expected)) {}
BatchExplainer::~BatchExplainer() = default;
size_t BatchExplainer::batch(const Shape& picture) { return work_->batch(picture); }
void BatchExplainer::limit(size_t rows) { work_->limit(rows); }
void BatchExplainer::start(std::vector<PictureToExplain> pictures) {
  work_->start(std::move(pictures));
}
size_t BatchExplainer::size() const { return work_->size(); }
Answer BatchExplainer::explain(size_t i) { return work_->explain(i); }

size_t BatchExplainer::Work::batch(const Shape& picture) {
  try {
    bind(picture);
    const TargetChoice& choice = options_.target;
    const bool known = !choice.classes.empty() || !choice.targets.empty();
    plan(known && needs_gradients() ? static_cast<int>(call_->target_count()) : targets_);
  } catch (const Error&) {
    return 1;  // explain() says so for every picture
  }
  return static_cast<size_t>(rows_);
}

void BatchExplainer::Work::limit(size_t rows) {
  most_ = std::clamp<int64_t>(static_cast<int64_t>(rows), 1, most_);
  if (rows_ > most_) drop();
}

void BatchExplainer::Work::start(std::vector<PictureToExplain> pictures) {
  for (const PictureToExplain& one : pictures) {
    if (one.input.tensor.shape() != pictures[0].input.tensor.shape()) {
      throw Error(ErrorKind::kUsage,
                  "pictures of " + pictures[0].input.tensor.shape().to_string() + " and " +
                      one.input.tensor.shape().to_string() + " do not go into one batch",
                  "start a batch for every shape");
    }
  }
  passes_.clear();
  runs_.clear();
  failures_.clear();
  pictures_ = std::move(pictures);
}

Answer BatchExplainer::Work::explain(size_t i) {
  bind(pictures_.at(i).input.tensor.shape());
  while (true) {
    if (most_ > 1) plan(most_targets());
    if (rows_ == 1) return explain_alone(i);
    try {
      if (i < first_ || i - first_ >= runs_.size() || runs_[i - first_] == nullptr) make_batch(i);
      return explain_in_batch(i);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kResource || rows_ == 1) throw;
      const int64_t before = rows_;
      drop();
      most_ = before / 2;
      model_.sessions().note_smaller(before, most_);
    }
  }
}

void BatchExplainer::Work::bind(const Shape& picture) {
  if (call_ != nullptr && call_->input_shape() == picture) return;
  drop();
  call_.reset();
  call_ = std::make_unique<ExplainCall>(model_, state_, options_, picture);
  std::vector<size_t> sharing;
  alone_.clear();
  for (const size_t request : call_->all_requests()) {
    const ExplainCall::Request& one = call_->requests()[request];
    const bool shares = one.choice.method->shares_passes() && one.needs.replay_from.empty();
    (shares ? sharing : alone_).push_back(request);
  }
  shared_ = call_->groups(sharing);
}

bool BatchExplainer::Work::needs_gradients() const {
  return std::any_of(shared_.begin(), shared_.end(), [](const ExplainCall::Group& group) {
    return !group.needs.gradient_to.empty();
  });
}

/// Of the pictures at hand; the others have fewer seeds, and zeros for the rest.
int BatchExplainer::Work::most_targets() const {
  size_t most = 1;
  if (!needs_gradients()) return 1;
  for (const PictureToExplain& one : pictures_) {
    most = std::max(most, one.targets.empty() ? call_->target_count() : one.targets.size());
  }
  return static_cast<int>(most);
}

/// Lets go of sessions and of what hangs on them.
void BatchExplainer::Work::drop() {
  passes_.clear();
  runs_.clear();
  failures_.clear();
  sessions_.clear();
  rows_ = 1;
  planned_ = false;
}

void BatchExplainer::Work::plan(int targets) {
  if (planned_ && targets_ == targets) return;
  drop();
  targets_ = targets;
  planned_ = true;
  if (most_ == 1 || shared_.empty()) return;
  try {
    plan_batch();
  } catch (const Error&) {
    sessions_.clear();  // one picture may do, or will tell
    rows_ = 1;
  }
}

/// A session for every shared group, all for the same number of pictures: the most that the one
/// with the largest needs allows.
void BatchExplainer::Work::plan_batch() {
  int64_t most = most_;
  while (most > 1 && sessions_.size() < shared_.size()) {
    Needs needs = shared_[sessions_.size()].needs;
    if (!needs.gradient_to.empty()) needs.seeds_per_image = targets_;
    sessions_.push_back(model_.sessions().lend_batch(call_->input_shape(), expected_, needs, most));
    const Plan& plan = sessions_.back()->plan();
    int64_t rows = plan.desc(model_.input_name()).shape[0];
    if (!has_rows(plan, rows)) rows = 1;
    if (rows < most && sessions_.size() > 1) sessions_.clear();  // once more, with fewer
    most = rows;
  }
  if (most == 1) sessions_.clear();
  rows_ = most;
}

void BatchExplainer::Work::make_batch(size_t first) {
  passes_.clear();
  runs_.clear();
  const size_t count = std::min(static_cast<size_t>(rows_), pictures_.size() - first);
  std::vector<Tensor> inputs;
  for (size_t row = 0; row < count; ++row) inputs.push_back(pictures_[first + row].input.tensor);
  Stopwatch watch;
  Tensor batch;
  std::vector<std::shared_ptr<BatchPass>> passes;
  for (const SessionPool::Lease& session : sessions_) {
    const std::shared_ptr<Stream> stream = session->stream();
    batch = batch.defined() ? on_stream(batch, stream) : stacked(inputs, rows_, stream);
    passes.push_back(std::make_shared<BatchPass>(*session, batch, call_->score()));
  }
  const double forward = watch.lap() / static_cast<double>(count);
  std::vector<std::unique_ptr<PictureRun>> runs;
  std::vector<std::exception_ptr> failures(count);
  for (size_t row = 0; row < count; ++row) {
    const PictureToExplain& one = pictures_[first + row];
    runs.push_back(std::make_unique<PictureRun>(*call_, one.input, one.targets));
    runs.back()->timing().forward = forward;
    const auto at = static_cast<int64_t>(row);
    try {
      runs.back()->see(passes[0]->scores(at).clone());
      for (const auto& pass : passes) pass->set_targets(at, runs.back()->targets());
    } catch (const Error&) {
      failures[row] = std::current_exception();
    }
  }
  first_ = first;
  runs_ = std::move(runs);
  failures_ = std::move(failures);
  passes_ = std::move(passes);
}

Answer BatchExplainer::Work::explain_in_batch(size_t i) {
  const size_t row = i - first_;
  const auto count = static_cast<double>(runs_.size());
  const std::unique_ptr<PictureRun> run = std::move(runs_[row]);
  if (failures_[row] != nullptr) std::rethrow_exception(failures_[row]);
  Timing& timing = run->timing();
  for (size_t g = 0; g < shared_.size(); ++g) {
    const std::shared_ptr<BatchPass>& pass = passes_[g];
    const double backward = pass->backward_ms();
    Stopwatch watch;
    std::vector<std::unique_ptr<Evidence>> evidence;
    for (const Subject& subject : call_->subjects()) {
      evidence.push_back(std::make_unique<Evidence>(
          model_.sessions(), pass, static_cast<int64_t>(row), subject, run->targets()));
    }
    run->explain(shared_[g], evidence);
    timing.explain += watch.lap() - (pass->backward_ms() - backward);
    timing.backward += pass->backward_ms() / count;
  }
  if (row + 1 == runs_.size()) passes_.clear();  // their memory may be wanted
  run->run_alone(alone_);
  return run->answer(pictures_[i].picture, options_.target.k);
}

Answer BatchExplainer::Work::explain_alone(size_t i) {
  const PictureToExplain& one = pictures_[i];
  PictureRun run(*call_, one.input, one.targets);
  run.run_alone(call_->all_requests());
  return run.answer(one.picture, options_.target.k);
}

}  // namespace camlucida
