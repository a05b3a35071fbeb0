#include "engine/manifest.h"

#include <nlohmann/json.hpp>
#include <string_view>

#include "engine/error.h"
#include "engine/fs.h"

namespace camlucida {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxFileBytes = uint64_t{1} << 26;

/// A JSON value together with where it stands, for messages ("preprocessing.resize.size").
class Node {
 public:
  Node(const json& value, const std::filesystem::path& file, std::string key)
      : value_(value), file_(file), key_(std::move(key)) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorKind::kInput,
                "manifest '" + file_.string() +
                    "': " + (key_.empty() ? "the file" : "'" + key_ + "'") + " " + what,
                "correct the file");
  }

  /// A member that must be there.
  Node operator[](const std::string& name) const {
    std::optional<Node> member = find(name);
    if (!member) Node(value_, file_, child(name)).fail("is missing");
    return *member;
  }
  /// A member that may be absent or null.
  std::optional<Node> find(const std::string& name) const {
    check(value_.is_object(), "an object");
    const auto member = value_.find(name);
    if (member == value_.end() || member->is_null()) return std::nullopt;
    return Node(*member, file_, child(name));
  }
  std::vector<Node> items() const {
    check(value_.is_array(), "a list");
    std::vector<Node> nodes;
    for (size_t i = 0; i < value_.size(); ++i) {
      nodes.emplace_back(value_[i], file_, key_ + "[" + std::to_string(i) + "]");
    }
    return nodes;
  }

  std::string text() const {
    check(value_.is_string(), "a text");
    return value_.get<std::string>();
  }
  double number() const {
    check(value_.is_number(), "a number");
    return value_.get<double>();
  }
  /// A whole number from 1 to 2^24.
  int size() const {
    constexpr int64_t kLargest = 1 << 24;
    check(value_.is_number_integer() && value_.get<double>() >= 1 &&
              value_.get<double>() <= static_cast<double>(kLargest),
          "a whole number from 1 to " + std::to_string(kLargest));
    return value_.get<int>();
  }
  bool is_text() const { return value_.is_string(); }
  const json& value() const { return value_; }
  void check(bool right, const std::string& expected) const {
    if (!right) fail("must be " + expected);
  }

 private:
  std::string child(const std::string& name) const {
    return key_.empty() ? name : key_ + "." + name;
  }

  const json& value_;
  const std::filesystem::path& file_;
  std::string key_;
};

std::string text_or(const std::optional<Node>& node, const std::string& fallback) {
  return node ? node->text() : fallback;
}

/// The value that `node` names in `choices`.
template <class T>
T choice(const Node& node, std::initializer_list<std::pair<std::string_view, T>> choices) {
  const std::string text = node.text();
  std::string names;
  for (const auto& [name, value] : choices) {
    if (text == name) return value;
    names += (names.empty() ? "" : ", ") + std::string(name);
  }
  node.fail("is '" + text + "', known are " + names);
}

Shape shape_of(const Node& node) {
  std::vector<int64_t> dims;
  for (const Node& item : node.items()) {
    dims.push_back(item.is_text() ? Shape::kUnknown : item.size());
  }
  return Shape(std::move(dims));
}

/// "size": [height, width]
std::pair<int, int> height_and_width(const Node& node) {
  const std::vector<Node> sides = node.items();
  node.check(sides.size() == 2, "a list of height and width");
  return {sides[0].size(), sides[1].size()};
}

std::vector<double> numbers(const Node& node) {
  std::vector<double> values;
  for (const Node& item : node.items()) values.push_back(item.number());
  return values;
}

Preprocessing preprocessing_of(const Node& node) {
  Preprocessing recipe;
  recipe.channel_order = choice<ChannelOrder>(
      node["channel_order"],
      {{"RGB", ChannelOrder::kRgb}, {"BGR", ChannelOrder::kBgr}, {"GRAY", ChannelOrder::kGray}});
  recipe.resize = ResizeOp::kKeep;
  if (const std::optional<Node> resize = node.find("resize")) {
    recipe.resize = choice<ResizeOp>((*resize)["op"], {{"none", ResizeOp::kKeep},
                                                       {"short_side", ResizeOp::kShortSide},
                                                       {"exact", ResizeOp::kExact}});
    if (recipe.resize == ResizeOp::kShortSide) recipe.short_side = (*resize)["size"].size();
    if (recipe.resize == ResizeOp::kExact) {
      std::tie(recipe.resize_height, recipe.resize_width) = height_and_width((*resize)["size"]);
    }
    if (const std::optional<Node> filter = resize->find("filter")) {
      recipe.filter = choice<Filter>(*filter, {{"pil_nearest", Filter::kNearest},
                                               {"pil_bilinear", Filter::kBilinear},
                                               {"pil_bicubic", Filter::kBicubic},
                                               {"pil_lanczos", Filter::kLanczos}});
    }
  }
  recipe.crop_height = recipe.crop_width = 0;
  if (const std::optional<Node> crop = node.find("crop")) {
    choice<bool>((*crop)["op"], {{"center", true}});
    std::tie(recipe.crop_height, recipe.crop_width) = height_and_width((*crop)["size"]);
  }
  recipe.scale = node["scale"].number();
  recipe.mean = numbers(node["mean"]);
  recipe.std = numbers(node["std"]);
  try {
    recipe.check();
  } catch (const Error& error) {
    node.fail("makes no sense (" + error.message() + ")");
  }
  return recipe;
}

std::filesystem::path resolve_labels(const Node& node, const std::filesystem::path& manifest) {
  const std::filesystem::path labels = node.text();
  const std::filesystem::path folder = manifest.parent_path();
  const std::filesystem::path above = folder.empty() ? ".." : folder.parent_path();
  std::error_code code;
  for (const std::filesystem::path& base : {folder, above, folder / ".."}) {
    const std::filesystem::path candidate = base / labels;  // an absolute path replaces the base
    if (std::filesystem::is_regular_file(candidate, code)) return candidate;
  }
  node.fail("names a file that does not exist: " + labels.string());
}

Manifest manifest_of(const Node& root, const std::filesystem::path& path) {
  Manifest manifest;
  manifest.path = path;
  manifest.name = text_or(root.find("name"), "");
  if (const auto input = root.find("input")) {
    manifest.input = Manifest::Input{(*input)["name"].text(), shape_of((*input)["shape"]), {}};
    if (const auto example = input->find("example_shape")) {
      manifest.input->example_shape = shape_of(*example);
      example->check(manifest.input->example_shape.is_known(), "a list of whole numbers");
    }
    if (const auto layout = input->find("layout")) choice<bool>(*layout, {{"NCHW", true}});
  }
  if (const auto recipe = root.find("preprocessing")) {
    manifest.preprocessing = preprocessing_of(*recipe);
  }
  if (const auto outputs = root.find("outputs")) {
    for (const Node& output : outputs->items()) {
      manifest.outputs.push_back(
          {output["name"].text(), shape_of(output["shape"]), text_or(output.find("kind"), "")});
    }
  }
  if (const auto labels = root.find("labels")) manifest.labels = resolve_labels(*labels, path);
  if (const auto target = root.find("target_layer")) {
    manifest.target_layer =
        Manifest::TargetLayer{text_or(target->find("module"), ""), (*target)["value"].text()};
  }
  if (const auto head = root.find("head")) {
    manifest.head.type = text_or(head->find("type"), "none");
    if (const auto initializers = head->find("initializers")) {
      manifest.head.weight = text_or(initializers->find("weight"), "");
      manifest.head.bias = text_or(initializers->find("bias"), "");
    }
  }
  if (const auto taps = root.find("taps")) {
    taps->check(taps->value().is_object(), "an object");
    for (const auto& [module, value] : taps->value().items()) {
      manifest.taps[module] = (*taps)[module].text();
    }
  }
  return manifest;
}

}  // namespace

Manifest Manifest::parse(const std::string& text, const std::filesystem::path& path) {
  json root;
  try {
    root = json::parse(text);
  } catch (const json::exception& error) {
    throw Error(ErrorKind::kInput,
                "manifest '" + path.string() + "' is not valid JSON: " + error.what(),
                "correct the file");
  }
  return manifest_of(Node(root, path, ""), path);
}

Manifest Manifest::load(const std::filesystem::path& path) {
  const std::vector<uint8_t> bytes = read_file(path, kMaxFileBytes, "manifest");
  return parse(std::string(bytes.begin(), bytes.end()), path);
}

}  // namespace camlucida
