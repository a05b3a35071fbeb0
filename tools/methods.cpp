#include <fmt/format.h>

#include <memory>

#include "explain/explainer.h"
#include "tools/json_output.h"
#include "tools/program.h"
#include "tools/table.h"

namespace camlucida::cli {
namespace {

int run(bool json) {
  const auto& methods = ExplainerRegistry::instance().all();
  if (json) {
    Json list = Json::array();
    for (const auto& method : methods) {
      Json variants = Json::array();
      for (const ExplainerDef::Variant& variant : method->variants) {
        variants.push_back({{"name", variant.name}, {"difference", variant.difference}});
      }
      list.push_back({{"name", method->name},
                      {"aliases", method->aliases},
                      {"title", method->title},
                      {"formula", method->formula},
                      {"source", method->source},
                      {"forwards", method->forwards},
                      {"backwards", method->backwards},
                      {"uses_gradient", method->uses_gradient},
                      {"class_agnostic", method->class_agnostic},
                      {"host_part", method->host_part},
                      {"variants", variants}});
    }
    print_json(list);
    return 0;
  }
  Table table({{"method"}, {"forwards"}, {"backwards"}, {"map"}, {"source"}});
  for (const auto& method : methods) {
    table.add({method->name, method->forwards, method->backwards,
               method->formula + (method->class_agnostic ? "  (ignores the class)" : ""),
               method->source});
  }
  table.print();
  fmt::print(
      "\nA layer's activation, gradient and weights: A, G and W. Names ignore case, '-' and "
      "'_'.\n");
  for (const auto& method : methods) {
    if (!method->aliases.empty()) {
      fmt::print("{} is also called {}\n", method->name, fmt::join(method->aliases, ", "));
    }
  }
  for (const auto& method : methods) {
    for (const ExplainerDef::Variant& variant : method->variants) {
      if (method->variants.size() == 1) continue;
      fmt::print("{}@{}: {}\n", method->name, variant.name, variant.difference);
    }
  }
  fmt::print("\nWith --device cuda the processor still computes, besides scores:\n");
  for (const auto& method : methods) {
    if (!method->host_part.empty()) fmt::print("{}: {}\n", method->name, method->host_part);
  }
  return 0;
}

}  // namespace

void add_methods(Program& program) {
  const auto json = std::make_shared<bool>(false);
  const Command command = program.add(
      "methods", "Explanation methods of this build with their cost in passes",
      "Examples:\n"
      "  camlucida methods\n"
      "  camlucida methods --json\n"
      "  camlucida explain -m model.onnx cat.jpg --method all-gradient   # use several at once",
      [json] { return run(*json); });
  command.add_flag("--json", *json, "Machine-readable output");
}

}  // namespace camlucida::cli
