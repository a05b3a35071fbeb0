#include "explain/batch_pass.h"

#include <cstring>

#include "engine/error.h"
#include "explain/residence.h"
#include "explain/stopwatch.h"

namespace camlucida {

BatchPass::BatchPass(Session& session, Tensor inputs, const std::string& score)
    : session_(session),
      inputs_(std::move(inputs)),
      targets_(static_cast<size_t>(inputs_.shape()[0])) {
  session_.forward(inputs_);
  scores_ = on_host(session_.activation(score));
}

void BatchPass::set_targets(int64_t row, std::vector<Target> targets) {
  targets_[static_cast<size_t>(row)] = std::move(targets);
}

Tensor BatchPass::activation(const std::string& value, int64_t row) {
  const auto known = activations_.find(value);
  const Tensor& all = known != activations_.end()
                          ? known->second
                          : activations_.emplace(value, session_.activation(value)).first->second;
  return all.rows(row, 1);
}

Tensor BatchPass::gradient(const std::string& value, int64_t row, size_t t) {
  if (!ran_backward_) run_backward();
  auto known = gradients_.find(value);
  if (known == gradients_.end()) {
    known = gradients_.emplace(value, session_.gradient(value)).first;
  }
  return known->second.rows(static_cast<int64_t>(t) * inputs_.shape()[0] + row, 1);
}

void BatchPass::run_backward() {
  Stopwatch watch;
  const int64_t rows = inputs_.shape()[0];
  Shape shape = scores_.shape();
  shape[0] = rows * session_.plan().needs().seeds_per_image;
  Tensor seeds(shape);  // zero where there are fewer targets
  auto* to = static_cast<std::byte*>(seeds.raw());
  for (int64_t row = 0; row < rows; ++row) {
    const std::vector<Target>& targets = targets_[static_cast<size_t>(row)];
    for (size_t t = 0; t < targets.size(); ++t) {
      const Tensor seed = targets[t].seed(scores(row));
      const auto place = t * static_cast<size_t>(rows) + static_cast<size_t>(row);
      if ((place + 1) * seed.bytes() > seeds.bytes()) {
        throw Error(ErrorKind::kInternal, "a picture has more targets than were planned for");
      }
      std::memcpy(to + place * seed.bytes(), seed.raw(), seed.bytes());
    }
  }
  session_.backward(seeds);
  ran_backward_ = true;
  backward_ms_ += watch.lap();
}

}  // namespace camlucida
