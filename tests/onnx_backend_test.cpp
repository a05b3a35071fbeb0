// Runs the conformance cases of the ONNX project (as Debian's libonnx-testdata installs them):
// models of one operator or a few, with inputs and expected outputs. Every case must pass or be
// listed, with a reason, in onnx_backend_unsupported.txt.
//
// Two things are made to look as they do in real models. What an operator needs to know its
// output's shape (a new shape, axes, pads) is an input of these models: where it is needed, all
// inputs but the first become constants, and if that is not enough (the bounds of a range) all do.
// Outputs that serve training only (statistics of a normalisation) are cut if they are not
// supported, and the first output is compared.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/fs.h"
#include "engine/import/onnx.h"
#include "engine/import/onnx_schema.h"
#include "engine/plan.h"
#include "engine/session.h"

namespace camlucida {
namespace {

namespace fs = std::filesystem;

fs::path data_dir() {
  const char* set = std::getenv("CAMLUCIDA_ONNX_TESTDATA");
  return set != nullptr ? set : "/usr/share/libonnx-testdata/data";
}

std::vector<uint8_t> read_bytes(const fs::path& file) { return read_file(file, 1 << 30); }

std::vector<Tensor> read_tensors(const fs::path& folder, const std::string& prefix) {
  std::vector<Tensor> tensors;
  for (int i = 0;; ++i) {
    const fs::path file = folder / (prefix + "_" + std::to_string(i) + ".pb");
    if (!fs::exists(file)) return tensors;
    const std::vector<uint8_t> bytes = read_bytes(file);
    tensors.push_back(tensor_from_onnx(std::as_bytes(std::span(bytes))));
  }
}

// ---- Comparison --------------------------------------------------------------------------------

/// The data sets hold bfloat16 as uint16 with the same bits.
Tensor as_type(const Tensor& tensor, DType wanted) {
  if (wanted != DType::kBFloat16 || tensor.dtype() != DType::kUint16) return tensor;
  return Tensor({wanted, tensor.shape()}, tensor.raw(), std::make_shared<Tensor>(tensor));
}

/// Empty if `actual` is `expected` by the rules of the ONNX project, else what differs.
std::string difference(const Tensor& actual, const Tensor& expected) {
  if (actual.dtype() != expected.dtype()) {
    return fmt::format("type {} instead of {}", name_of(actual.dtype()), name_of(expected.dtype()));
  }
  if (actual.shape() != expected.shape()) {
    return "shape " + actual.shape().to_string() + " instead of " + expected.shape().to_string();
  }
  if (!is_floating(actual.dtype())) {
    const bool same = std::memcmp(actual.raw(), expected.raw(), actual.bytes()) == 0;
    return same ? "" : "integers differ";
  }
  const std::vector<double> a = actual.to_doubles();
  const std::vector<double> e = expected.to_doubles();
  for (size_t i = 0; i < a.size(); ++i) {
    const bool same = a[i] == e[i] || (std::isnan(a[i]) && std::isnan(e[i])) ||
                      std::fabs(a[i] - e[i]) <= 1e-7 + 1e-3 * std::fabs(e[i]);
    if (!same) return fmt::format("element {} is {} instead of {}", i, a[i], e[i]);
  }
  return "";
}

// ---- Running one case --------------------------------------------------------------------------

/// The graph with its inputs from `first` on replaced by `tensors`.
Graph with_constants(const Graph& graph, const std::vector<Tensor>& tensors, size_t first) {
  GraphBuilder builder;
  for (size_t i = 0; i < graph.inputs().size(); ++i) {
    const Value& input = graph.value(graph.inputs()[i]);
    if (i < first) {
      builder.add_input(input.name, input.desc);
    } else {
      builder.add_constant(input.name, tensors[i]);
    }
  }
  const auto mapped = [&](ValueId id) {
    if (id == kNone) return kNone;
    const Value& value = graph.value(id);
    return value.is_constant() ? builder.add_constant(value.name, value.constant)
                               : builder.value(value.name);
  };
  for (Node node : graph.nodes()) {
    for (ValueId& id : node.inputs) id = mapped(id);
    for (ValueId& id : node.outputs) id = mapped(id);
    builder.add_node(std::move(node));
  }
  for (ValueId id : graph.outputs()) builder.add_output(mapped(id));
  for (const auto& [name, id] : graph.aliases()) builder.add_alias(name, mapped(id));
  return std::move(builder).build();
}

/// First difference of the outputs for one data set, or empty. The inputs from `first_constant` on
/// are constants of the graph.
std::string run(const Graph& graph, const std::vector<Tensor>& inputs,
                const std::vector<Tensor>& expected, size_t first_constant,
                const PlanOptions& options) {
  std::vector<std::string> output_names;
  for (ValueId id : graph.outputs()) output_names.push_back(graph.value(id).name);
  if (inputs.size() != graph.inputs().size() || expected.size() != output_names.size()) {
    return "inputs or outputs differ in number from the model's";
  }
  std::map<std::string, Shape> shapes;
  std::map<std::string, Tensor> data;
  for (size_t i = 0; i < std::min(first_constant, inputs.size()); ++i) {
    const Value& input = graph.value(graph.inputs()[i]);
    shapes[input.name] = inputs[i].shape();
    data[input.name] = as_type(inputs[i], input.desc.dtype);
  }
  Session session(Plan::compile(with_constants(graph, inputs, first_constant), shapes, {}, options),
                  2);
  session.forward(data);
  for (size_t i = 0; i < output_names.size(); ++i) {
    const Tensor actual = session.output(output_names[i]);
    const std::string differs = difference(actual, as_type(expected[i], actual.dtype()));
    if (!differs.empty()) return "output " + output_names[i] + ": " + differs;
  }
  return "";
}

struct Outcome {
  enum class Kind { kPassed, kFailed, kUnsupported };
  Kind kind = Kind::kPassed;
  std::string message;
  std::vector<std::string> operators;
};

/// The model with its first output only, if the others come from the same node; else nullopt.
std::optional<Graph> import_first_output(const fs::path& file) {
  const std::vector<uint8_t> bytes = read_bytes(file);
  schema::ModelProto model;
  EXPECT_TRUE(model.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  schema::GraphProto& graph = *model.mutable_graph();
  const auto count = static_cast<int>(graph.output_size());
  for (schema::NodeProto& node : *graph.mutable_node()) {
    if (count < 2 || node.output_size() < count) continue;
    bool same = true;
    for (int i = 0; i < count; ++i) same = same && node.output(i) == graph.output(i).name();
    if (!same) continue;
    node.mutable_output()->DeleteSubrange(1, node.output_size() - 1);
    graph.mutable_output()->DeleteSubrange(1, count - 1);
    const std::string edited = model.SerializeAsString();
    return import_onnx(std::as_bytes(std::span(edited)), file.parent_path(), file.string());
  }
  return std::nullopt;
}

Graph import_case(const fs::path& file, OnnxInfo* info) {
  try {
    return import_onnx(file, info);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kUnsupported) throw;
    if (std::optional<Graph> graph = import_first_output(file)) return *std::move(graph);
    throw;
  }
}

/// Runs all data sets of a case, with reference functions and with fast kernels.
Outcome run_case(const fs::path& folder) {
  Outcome outcome;
  OnnxInfo info;
  try {
    const Graph graph = import_case(folder / "model.onnx", &info);
    for (const auto& [name, count] : info.operators) outcome.operators.push_back(name);
    for (int set = 0;; ++set) {
      const fs::path data = folder / ("test_data_set_" + std::to_string(set));
      if (!fs::exists(data)) return outcome;
      const std::vector<Tensor> inputs = read_tensors(data, "input");
      std::vector<Tensor> expected = read_tensors(data, "output");
      if (graph.outputs().size() == 1) expected.resize(1);
      for (const bool reference : {true, false}) {
        const PlanOptions options{.reference_only = reference};
        for (const size_t first_constant : {inputs.size(), size_t{1}, size_t{0}}) {
          try {
            outcome.message = run(graph, inputs, expected, first_constant, options);
            break;
          } catch (const Error& error) {
            if (error.kind() != ErrorKind::kUnsupported || first_constant == 0) throw;
          }
        }
        if (outcome.message.empty()) continue;
        outcome.kind = Outcome::Kind::kFailed;
        outcome.message += reference ? " (reference)" : " (fast kernels)";
        return outcome;
      }
    }
  } catch (const Error& error) {
    outcome.operators.clear();
    for (const auto& [name, count] : info.operators) outcome.operators.push_back(name);
    outcome.kind = error.kind() == ErrorKind::kUnsupported ? Outcome::Kind::kUnsupported
                                                           : Outcome::Kind::kFailed;
    outcome.message = error.what();
  }
  return outcome;
}

// ---- The list of exceptions --------------------------------------------------------------------

/// A line "pattern: reason" is about cases that are not supported, "differs pattern: reason" about
/// cases whose expected outputs are not right for us to match. The pattern is a case
/// ("node/test_loop*", one * allowed at the end) or "operator Loop" for all cases with it.
struct Exception {
  std::string pattern;
  Outcome::Kind kind = Outcome::Kind::kUnsupported;
  bool used = false;

  bool matches(const std::string& name, const Outcome& outcome) const {
    const std::string operator_prefix = "operator ";
    if (pattern.starts_with(operator_prefix)) {
      const std::string wanted = pattern.substr(operator_prefix.size());
      return std::find(outcome.operators.begin(), outcome.operators.end(), wanted) !=
             outcome.operators.end();
    }
    if (pattern.ends_with('*')) {
      return name.starts_with(std::string_view(pattern).substr(0, pattern.size() - 1));
    }
    return name == pattern;
  }
};

std::vector<Exception> read_exceptions() {
  std::vector<Exception> list;
  std::ifstream file(fs::path(CAMLUCIDA_SOURCE_DIR) / "tests" / "onnx_backend_unsupported.txt");
  EXPECT_TRUE(file.is_open()) << "tests/onnx_backend_unsupported.txt is missing";
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const size_t colon = line.find(": ");
    if (colon == std::string::npos || colon + 2 == line.size()) {
      ADD_FAILURE() << "no reason given: " << line;
      continue;
    }
    Exception entry{line.substr(0, colon)};
    const std::string differs_prefix = "differs ";
    if (entry.pattern.starts_with(differs_prefix)) {
      entry.pattern.erase(0, differs_prefix.size());
      entry.kind = Outcome::Kind::kFailed;
    }
    list.push_back(std::move(entry));
  }
  return list;
}

/// Marks the entries that are about this outcome; false if there is none.
bool is_listed(std::vector<Exception>& list, const std::string& name, const Outcome& outcome) {
  bool listed = false;
  for (Exception& entry : list) {
    if (entry.kind != outcome.kind || !entry.matches(name, outcome)) continue;
    listed = entry.used = true;
  }
  return listed;
}

// ---- The table ---------------------------------------------------------------------------------

struct Row {
  int passed = 0;
  int differs = 0;  // listed so
  int unsupported = 0;
  int failed = 0;  // anything not as it should be
};

/// The one operator of a model, besides the constants around it.
std::string operator_of(const Outcome& outcome) {
  std::vector<std::string> names = outcome.operators;
  if (names.size() > 1) std::erase(names, "Constant");
  return names.size() == 1 ? names[0] : "(several)";
}

void print_table(const std::map<std::string, Row>& rows) {
  Row total;
  const auto print = [](const std::string& name, const Row& row) {
    fmt::print("{:<40}{:>8}{:>8}{:>15}{:>9}\n", name, row.passed, row.failed, row.unsupported,
               row.differs);
  };
  fmt::print("{:<40}{:>8}{:>8}{:>15}{:>9}\n", "operator", "passed", "failed", "not supported",
             "disputed");
  for (const auto& [name, row] : rows) {
    print(name, row);
    total.passed += row.passed;
    total.failed += row.failed;
    total.unsupported += row.unsupported;
    total.differs += row.differs;
  }
  print("total", total);
  std::fflush(stdout);
}

/// Checks an outcome against the list and counts it.
void judge(const std::string& name, const Outcome& outcome, std::vector<Exception>& list,
           Row& row) {
  if (outcome.kind == Outcome::Kind::kPassed) {
    ++row.passed;
    for (const Exception& entry : list) {
      EXPECT_FALSE(entry.matches(name, outcome))
          << name << " passes: take '" << entry.pattern << "' off the list";
    }
    return;
  }
  const bool unsupported = outcome.kind == Outcome::Kind::kUnsupported;
  if (is_listed(list, name, outcome)) {
    ++(unsupported ? row.unsupported : row.differs);
    return;
  }
  ++row.failed;
  ADD_FAILURE() << name << (unsupported ? " is not supported and not listed: " : ": ")
                << outcome.message;
}

TEST(OnnxBackend, EveryCasePassesOrIsListed) {
  const fs::path root = data_dir();
  if (!fs::is_directory(root)) GTEST_SKIP() << "SKIPPED: no libonnx-testdata";
  std::vector<Exception> list = read_exceptions();
  std::map<std::string, Row> rows;
  int cases = 0;
  for (const char* group : {"node", "pytorch-operator", "pytorch-converted", "simple"}) {
    std::vector<fs::path> folders;
    for (const auto& entry : fs::directory_iterator(root / group)) folders.push_back(entry.path());
    std::sort(folders.begin(), folders.end());
    for (const fs::path& folder : folders) {
      const Outcome outcome = run_case(folder);
      judge(std::string(group) + "/" + folder.filename().string(), outcome, list,
            rows[operator_of(outcome)]);
      ++cases;
    }
  }
  for (const Exception& entry : list) {
    EXPECT_TRUE(entry.used) << "no case is as the list says of '" << entry.pattern << "'";
  }
  print_table(rows);
  EXPECT_GT(cases, 1000) << "the data under " << root << " is not complete";
}

}  // namespace
}  // namespace camlucida
