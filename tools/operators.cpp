#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <tuple>

#include "engine/registry.h"
#include "tools/json_output.h"
#include "tools/program.h"
#include "tools/table.h"

namespace camlucida::cli {
namespace {

struct Entry {
  std::string operation;  // with its domain, if it is not ai.onnx
  const LayerDef* layer;
  int first_opset;
  int last_opset;
  bool differentiable;
  int kernels;  // fast kernels forward, not counting those that serve every layer
  int backward_kernels;
};

std::vector<Entry> collect() {
  const Registry& registry = Registry::instance();
  std::vector<Entry> entries;
  for (const auto& layer : registry.layers()) {
    int kernels = 0;
    int backward_kernels = 0;
    for (const auto& kernel : registry.kernels()) {
      const auto& served = kernel->layers;
      if (std::find(served.begin(), served.end(), layer->name) == served.end()) continue;
      ++(kernel->backward ? backward_kernels : kernels);
    }
    for (const OnnxOperator& op : layer->onnx) {
      entries.push_back({op.domain.empty() ? op.name : op.domain + "." + op.name, layer.get(),
                         op.first_opset, op.last_opset, layer->backward != nullptr || layer->view,
                         kernels, backward_kernels});
    }
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.operation, a.first_opset) < std::tie(b.operation, b.first_opset);
  });
  return entries;
}

int run(bool json) {
  const std::vector<Entry> entries = collect();
  if (json) {
    Json list = Json::array();
    for (const Entry& entry : entries) {
      list.push_back({{"operator", entry.operation},
                      {"first_opset", entry.first_opset},
                      {"last_opset", entry.last_opset},
                      {"layer", entry.layer->name},
                      {"differentiable", entry.differentiable},
                      {"kernels", entry.kernels},
                      {"backward_kernels", entry.backward_kernels}});
    }
    print_json(list);
    return 0;
  }
  using Align = Table::Align;
  Table table({{"ONNX operator"},
               {"opsets", Align::kRight},
               {"layer"},
               {"gradient"},
               {"kernels", Align::kRight},
               {"backward", Align::kRight}});
  for (const Entry& entry : entries) {
    table.add({entry.operation, fmt::format("{}-{}", entry.first_opset, entry.last_opset),
               entry.layer->name, entry.differentiable ? "yes" : "no",
               std::to_string(entry.kernels), std::to_string(entry.backward_kernels)});
  }
  table.print();
  std::string last;
  int operators = 0;
  for (const Entry& entry : entries) {
    operators += entry.operation != last ? 1 : 0;
    last = entry.operation;
  }
  fmt::print(
      "\n{} operators. Kernels: fast ones made for the layer; element-wise layers share one more, "
      "and the reference function runs whatever no kernel takes.\n",
      operators);
  return 0;
}

}  // namespace

void add_operators(Program& program) {
  const auto json = std::make_shared<bool>(false);
  const Command command =
      program.add("operators", "ONNX operators this build runs, with opsets and gradients",
                  "Examples:\n"
                  "  camlucida operators\n"
                  "  camlucida operators --json",
                  [json] { return run(*json); });
  command.add_flag("--json", *json, "Machine-readable output");
}

}  // namespace camlucida::cli
