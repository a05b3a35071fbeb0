#include "engine/import/caffe_graph.h"

#include <algorithm>

#include "engine/fs.h"
#include "engine/import/message_file.h"

namespace camlucida {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kCustomaryExtent = 224;
/// Layers named in one message.
constexpr size_t kMaxNamed = 16;

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// Layers that take pictures and labels from outside.
bool is_data_layer(const caffe::Layer& layer) {
  return layer.bottom_size() == 0 && (ends_with(layer.type(), "Data") || layer.type() == "Python");
}

/// Layers that compare, count or store and give nothing that a picture's answer needs.
bool is_measure(const caffe::Layer& layer) {
  const std::string& type = layer.type();
  return ends_with(type, "Loss") || type == "Accuracy" || type == "HDF5Output";
}

bool meets(const caffe::NetStateRule& rule, const caffe::NetState& state) {
  if (rule.has_phase() && rule.phase() != caffe::TEST) return false;
  if (rule.has_min_level() && state.level() < rule.min_level()) return false;
  if (rule.has_max_level() && state.level() > rule.max_level()) return false;
  const auto has = [&](const std::string& stage) {
    return std::find(state.stage().begin(), state.stage().end(), stage) != state.stage().end();
  };
  return std::all_of(rule.stage().begin(), rule.stage().end(), has) &&
         std::none_of(rule.not_stage().begin(), rule.not_stage().end(), has);
}

bool runs(const caffe::Layer& layer, const caffe::NetState& state) {
  const auto met = [&](const caffe::NetStateRule& rule) { return meets(rule, state); };
  if (layer.include_size() > 0) {
    return std::any_of(layer.include().begin(), layer.include().end(), met);
  }
  return std::none_of(layer.exclude().begin(), layer.exclude().end(), met);
}

caffe::Layer upgraded(const caffe::LayerV1& old) {
  if (old.has_layer()) {
    throw Error(ErrorKind::kUnsupported, "the network is written in Caffe's first form",
                "rewrite it with Caffe's upgrade_net_proto_text");
  }
  caffe::Layer layer;
  layer.ParseFromString(old.SerializeAsString());
  layer.DiscardUnknownFields();
  layer.set_type(caffe_type_of(old.type()));
  return layer;
}

Error::Place place(const caffe::Layer& layer) { return {layer.name(), layer.type(), 0}; }

Error malformed(const caffe::Layer& layer, const std::string& what) {
  const Error error = caffe_malformed(what);
  return Error(error.kind(), error.message(), place(layer), error.hint());
}

}  // namespace

std::vector<caffe::Layer> caffe_test_layers(const caffe::Network& network) {
  std::vector<caffe::Layer> all(network.layer().begin(), network.layer().end());
  for (const caffe::LayerV1& old : network.layers()) all.push_back(upgraded(old));
  if (network.layer_size() > 0 && network.layers_size() > 0) {
    throw caffe_malformed("the network has both `layer` and `layers`");
  }
  std::erase_if(all, [&](const caffe::Layer& layer) { return !runs(layer, network.state()); });
  return all;
}

bool read_caffe_mean(const fs::path& folder, const std::string& mean_file, Shape& extents,
                     std::vector<double>& mean) {
  const fs::path file = folder / fs::path(mean_file).filename();
  std::error_code code;
  if (mean_file.empty() || folder.empty() || !fs::is_regular_file(file, code)) return false;
  caffe::Blob blob;
  try {
    if (!parse_message_file(file, blob, "give the mean with --mean")) {
      throw Error(ErrorKind::kModel, "not a mean picture, or truncated", "download it again");
    }
    extents = blob_shape(blob);
    if (extents.rank() == 4 && extents[0] == 1) {
      extents = Shape{extents[1], extents[2], extents[3]};
    }
    if (extents.rank() != 3) {
      throw Error(ErrorKind::kModel, "a mean picture of shape " + extents.to_string(),
                  "give the mean with --mean");
    }
  } catch (const Error& error) {
    throw error.with_context("mean file '" + file.string() + "'");
  }
  const int64_t pixels = extents[1] * extents[2];
  mean.assign(static_cast<size_t>(extents[0]), 0);
  for (int64_t i = 0; i < extents.count(); ++i) {
    const int at = static_cast<int>(i);
    const double value = blob.data_size() > 0 ? double{blob.data(at)} : blob.double_data(at);
    mean[static_cast<size_t>(i / pixels)] += value / static_cast<double>(pixels);
  }
  return true;
}

// ---- One layer ---------------------------------------------------------------------------------

class CaffeGraphImporter::Layer final : public CaffeLayer {
 public:
  Layer(CaffeGraphImporter& importer, size_t index)
      : importer_(importer), index_(index), layer_(importer.layers_[index]) {
    // Before any top is written: a layer that works in place reads what was there.
    for (const std::string& blob : layer_.bottom()) bottoms_.push_back(importer.read(blob));
  }

  const caffe::Layer& definition() const override { return layer_; }
  ValueId bottom(int i) const override { return bottoms_.at(static_cast<size_t>(i)); }
  bool is_read(int i) const override {
    const auto it = importer_.last_read_.find(layer_.top(i));
    return it != importer_.last_read_.end() && it->second > index_;
  }
  int rank(ValueId value) const override {
    const auto it = importer_.customary_.find(value);
    if (it == importer_.customary_.end()) {
      throw caffe_unsupported("the number of axes it works on cannot be told",
                              "a network that states the extents of its inputs");
    }
    return it->second.shape.rank();
  }
  int blobs() const override { return importer_.weights_.count(layer_.name()); }
  Tensor blob(int i, const std::string& what, const Shape& expected) override {
    return importer_.weights_.take(layer_.name(), i, what, expected);
  }
  ValueId constant(const std::string& what, Tensor tensor) override {
    const std::string name = importer_.unique_name(layer_.name() + "." + what);
    importer_.customary_[importer_.builder_.value(name)] = tensor.desc();
    return importer_.builder_.add_constant(name, std::move(tensor));
  }
  ValueId step(const std::string& operation, const std::vector<ValueId>& inputs,
               const Attributes& attributes) override {
    const std::string name = importer_.unique_name(layer_.name() + "." + operation);
    return importer_.add_node(layer_, operation, inputs, attributes,
                              {importer_.builder_.value(name)});
  }
  void finish(const std::string& operation, const std::vector<ValueId>& inputs,
              const Attributes& attributes, int outputs) override {
    std::vector<ValueId> tops;
    for (int i = 0; i < std::min(outputs, this->tops()); ++i) {
      tops.push_back(importer_.declare_top(index_, i));
    }
    if (tops.empty()) throw caffe_malformed("no tops");
    importer_.add_node(layer_, operation, inputs, attributes, tops);
  }
  void finish_top(int i, const std::string& operation, const std::vector<ValueId>& inputs,
                  const Attributes& attributes) override {
    if (i >= tops()) throw caffe_malformed("fewer tops than bottoms");
    importer_.add_node(layer_, operation, inputs, attributes, {importer_.declare_top(index_, i)});
  }

 private:
  CaffeGraphImporter& importer_;
  size_t index_;
  const caffe::Layer& layer_;
  std::vector<ValueId> bottoms_;
};

// ---- The network -------------------------------------------------------------------------------

CaffeGraphImporter::CaffeGraphImporter(const caffe::Network& network, CaffeWeights weights,
                                       fs::path folder, std::string file, const Registry& registry)
    : network_(network),
      weights_(std::move(weights)),
      folder_(std::move(folder)),
      file_(std::move(file)),
      registry_(registry) {}

CaffeModel CaffeGraphImporter::run() {
  layers_ = caffe_test_layers(network_);
  if (layers_.empty()) {
    throw Error(ErrorKind::kModel, "it holds no layers for phase TEST",
                "give the network (deploy.prototxt or train_test.prototxt), not the solver");
  }
  note_readers();
  add_network_inputs();
  check_weights();
  for (size_t i = 0; i < layers_.size(); ++i) add_layer(i);
  if (!unsupported_.empty()) throw unsupported_.error(file_);
  add_outputs();
  for (const auto& [name, value] : aliases_) builder_.add_alias(name, value);
  return {std::move(builder_).build(), std::move(transform_)};
}

void CaffeGraphImporter::note_readers() {
  for (size_t i = 0; i < layers_.size(); ++i) {
    for (const std::string& blob : layers_[i].bottom()) last_read_[blob] = i;
    for (const std::string& blob : layers_[i].top()) last_write_[blob] = i;
  }
  // Blobs have their names for themselves.
  for (const auto& [blob, layer] : last_write_) taken_.emplace(blob, 1);
  for (const std::string& blob : network_.input()) taken_.emplace(blob, 1);
}

void CaffeGraphImporter::add_network_inputs() {
  const int inputs = network_.input_size();
  if (network_.input_shape_size() > 0) {
    if (network_.input_shape_size() != inputs) {
      throw caffe_malformed(std::to_string(network_.input_shape_size()) + " input_shape for " +
                            std::to_string(inputs) + " inputs");
    }
  } else if (network_.input_dim_size() != 4 * inputs) {
    throw caffe_malformed(std::to_string(network_.input_dim_size()) + " input_dim for " +
                          std::to_string(inputs) + " inputs, which have four each");
  }
  for (int i = 0; i < inputs; ++i) {
    std::vector<int64_t> dims;
    if (network_.input_shape_size() > 0) {
      const auto& shape = network_.input_shape(i).dim();
      dims.assign(shape.begin(), shape.end());
    } else {
      dims.assign(network_.input_dim().begin() + 4 * i, network_.input_dim().begin() + 4 * (i + 1));
    }
    add_input(network_.input(i), std::move(dims));
  }
}

void CaffeGraphImporter::add_input(const std::string& blob, std::vector<int64_t> dims) {
  if (blob.empty() || values_.count(blob) > 0) {
    throw caffe_malformed("input '" + blob + "' is given twice or has no name");
  }
  if (dims.empty()) throw caffe_malformed("input '" + blob + "' has no extents");
  for (size_t axis = 0; axis < dims.size(); ++axis) {
    if (dims[axis] < 1 && dims[axis] != Shape::kUnknown) {
      throw caffe_malformed("input '" + blob + "' has an extent of " + std::to_string(dims[axis]));
    }
  }
  // Networks are reshaped to the number of pictures.
  if (dims.size() > 1) dims[0] = Shape::kUnknown;
  // An input that a layer overwrites keeps its name apart from what the blob holds in the end.
  const bool overwritten = last_write_.count(blob) > 0 &&
                           !is_data_layer(layers_[last_write_[blob]]) &&
                           layers_[last_write_[blob]].type() != "Input";
  const std::string name = overwritten ? unique_name(blob + "@input") : blob;
  const TensorDesc desc{DType::kFloat32, Shape(dims)};
  TensorDesc customary = desc;
  for (size_t axis = 0; axis < dims.size(); ++axis) {
    if (dims[axis] != Shape::kUnknown) continue;
    customary.shape[static_cast<int>(axis)] = axis == 0 ? 1 : kCustomaryExtent;
  }
  customary.bytes();  // throws if it cannot be addressed
  values_[blob] = builder_.add_input(name, desc);
  customary_[values_[blob]] = customary;
}

int64_t CaffeGraphImporter::channels_of(const std::string& blob) const {
  for (const caffe::Layer& layer : layers_) {
    if (layer.type() != "Convolution" || layer.bottom_size() == 0 || layer.bottom(0) != blob) {
      continue;
    }
    return weights_.extent(layer.name(), 0, 1) *
           std::max<int64_t>(1, layer.convolution_param().group());
  }
  return 0;
}

/// Extents of the pictures of a data layer, [N, C, H, W]; also notes how they are made.
std::vector<int64_t> CaffeGraphImporter::data_extents(const caffe::Layer& layer) {
  CaffeTransform transform;
  const caffe::TransformParameter& p = layer.transform_param();
  const caffe::ImageDataParameter& image = layer.image_data_param();
  transform.stated = layer.has_transform_param();
  transform.scale = double{p.scale()};
  transform.mean.assign(p.mean_value().begin(), p.mean_value().end());
  constexpr int64_t kMaxExtent = 1 << 24;
  for (const int64_t extent : {p.crop_size(), image.new_height(), image.new_width()}) {
    if (extent < 0 || extent > kMaxExtent) {
      throw malformed(layer, "a size of " + std::to_string(extent) + " pixels");
    }
  }
  transform.crop = static_cast<int>(p.crop_size());
  transform.resize_height = static_cast<int>(image.new_height());
  transform.resize_width = static_cast<int>(image.new_width());
  transform.stated = transform.stated || transform.resize_height > 0;
  Shape mean_extents;
  if (p.has_mean_file() && !read_caffe_mean(folder_, p.mean_file(), mean_extents, transform.mean)) {
    transform.mean_file = p.mean_file();
  }

  int64_t channels = channels_of(layer.top(0));
  if (channels == 0 && mean_extents.rank() == 3) channels = mean_extents[0];
  if (channels == 0) channels = transform.mean.size() == 1 ? 1 : 3;
  std::vector<int64_t> dims = {Shape::kUnknown, channels, Shape::kUnknown, Shape::kUnknown};
  const auto set = [&dims](int64_t height, int64_t width) {
    if (height > 0) dims[2] = height;
    if (width > 0) dims[3] = width;
  };
  if (mean_extents.rank() == 3) set(mean_extents[1], mean_extents[2]);
  set(image.new_height(), image.new_width());
  set(p.crop_size(), p.crop_size());
  const caffe::MemoryDataParameter& memory = layer.memory_data_param();
  if (memory.channels() > 0) dims[1] = memory.channels();
  if (p.crop_size() == 0) set(memory.height(), memory.width());
  const caffe::DummyDataParameter& dummy = layer.dummy_data_param();
  if (dummy.shape_size() > 0) {
    dims.assign(dummy.shape(0).dim().begin(), dummy.shape(0).dim().end());
  } else if (dummy.channels_size() > 0 && dummy.height_size() > 0 && dummy.width_size() > 0) {
    dims = {Shape::kUnknown, dummy.channels(0), dummy.height(0), dummy.width(0)};
  }
  if (values_.empty()) transform_ = std::move(transform);
  return dims;
}

void CaffeGraphImporter::add_data_layer(const caffe::Layer& layer) {
  if (layer.type() == "Input") {
    const caffe::InputParameter& p = layer.input_param();
    if (p.shape_size() != layer.top_size() && p.shape_size() != 1) {
      throw malformed(layer, std::to_string(p.shape_size()) + " shapes for " +
                                 std::to_string(layer.top_size()) + " tops");
    }
    if (values_.empty() && layer.has_transform_param() && layer.top_size() > 0) {
      data_extents(layer);
    }
    for (int i = 0; i < layer.top_size(); ++i) {
      const auto& shape = p.shape(p.shape_size() == 1 ? 0 : i).dim();
      add_input(layer.top(i), {shape.begin(), shape.end()});
    }
    return;
  }
  if (layer.top_size() == 0) throw malformed(layer, "no tops");
  add_input(layer.top(0), data_extents(layer));
  labels_.insert(layer.top().begin() + 1, layer.top().end());
}

bool CaffeGraphImporter::is_left_out(const caffe::Layer& layer) const {
  if (is_measure(layer)) return true;
  return std::any_of(layer.bottom().begin(), layer.bottom().end(),
                     [&](const std::string& blob) { return labels_.count(blob) > 0; });
}

void CaffeGraphImporter::check_weights() const {
  std::string missing;
  size_t count = 0;
  for (const caffe::Layer& layer : layers_) {
    const CaffeOperator* op = find_caffe_operator(layer.type());
    const bool second = layer.bottom_size() > 1 && op != nullptr && op->max_bottoms == 2;
    if (op == nullptr || !op->trained || second || weights_.count(layer.name()) > 0) continue;
    if (++count <= kMaxNamed) missing += (count > 1 ? ", '" : "'") + layer.name() + "'";
  }
  if (count == 0) return;
  if (count > kMaxNamed) missing += " and " + std::to_string(count - kMaxNamed) + " more";
  throw Error(ErrorKind::kModel,
              "the weights file has no blobs for " +
                  std::string(count == 1 ? "layer " : "layers ") + missing,
              "use the weights that were trained with this network");
}

void CaffeGraphImporter::add_layer(size_t index) {
  const caffe::Layer& layer = layers_[index];
  if (layer.type().empty()) throw malformed(layer, "the layer has no type");
  if (layer.type() == "Input" || is_data_layer(layer)) return add_data_layer(layer);
  if (is_left_out(layer)) {
    labels_.insert(layer.top().begin(), layer.top().end());
    // What it reads stays unread.
    return;
  }
  for (const std::string& blob : layer.bottom()) read_.insert(blob);
  if (layer.type() == "Silence") return;
  try {
    Layer translated(*this, index);
    const CaffeOperator* op = find_caffe_operator(layer.type());
    if (op == nullptr) {
      throw caffe_unsupported("not implemented", "the layers that docs/models.md lists");
    }
    if (layer.bottom_size() < op->min_bottoms || layer.bottom_size() > op->max_bottoms) {
      throw caffe_malformed(std::to_string(layer.bottom_size()) + " bottoms");
    }
    op->translate(translated);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kUnsupported) {
      if (!error.place().node.empty()) throw;
      throw Error(error.kind(), error.message(), place(layer), error.hint());
    }
    unsupported_.add(place(layer), error);
    // Later layers can name its tops.
    for (int i = 0; i < layer.top_size(); ++i) {
      if (written_[layer.top(i)] != index + 1) declare_top(index, i);
    }
  }
  const bool blob_name = last_write_.count(layer.name()) > 0;
  if (layer.top_size() > 0 && !blob_name) {
    aliases_.emplace_back(layer.name(), values_.at(layer.top(0)));
  }
}

void CaffeGraphImporter::add_outputs() {
  std::vector<ValueId> outputs;
  for (auto blob = produced_.rbegin(); blob != produced_.rend(); ++blob) {
    if (read_.count(*blob) == 0) outputs.push_back(values_.at(*blob));
  }
  if (outputs.empty()) {
    throw Error(ErrorKind::kModel, "the network has no outputs in phase TEST",
                "give a network whose last layer is not read by another");
  }
  for (const ValueId value : outputs) builder_.add_output(value);
}

// ---- Values and nodes --------------------------------------------------------------------------

ValueId CaffeGraphImporter::read(const std::string& blob) const {
  const auto it = values_.find(blob);
  if (it != values_.end()) return it->second;
  throw Error(ErrorKind::kModel,
              "blob '" + blob + "' is read but no layer of phase TEST before it makes it",
              "correct the network's .prototxt, or add an Input layer");
}

std::string CaffeGraphImporter::unique_name(const std::string& name) {
  if (taken_.emplace(name, 1).second) return name;
  while (true) {
    std::string candidate = name + "#" + std::to_string(taken_[name]++);
    if (taken_.emplace(candidate, 1).second) return candidate;
  }
}

ValueId CaffeGraphImporter::declare_top(size_t index, int i) {
  const caffe::Layer& layer = layers_[index];
  const std::string& blob = layer.top(i);
  const bool in_place =
      std::find(layer.bottom().begin(), layer.bottom().end(), blob) != layer.bottom().end();
  if (blob.empty() || (values_.count(blob) > 0 && !in_place)) {
    throw caffe_malformed("top '" + blob + "' is made by another layer, too, or has no name");
  }
  std::string name = blob;
  if (last_write_.at(blob) != index) {
    const bool own = last_write_.count(layer.name()) == 0 && !layer.name().empty();
    name = unique_name(own ? layer.name() : blob + "@" + layer.name());
  }
  const ValueId value = builder_.value(name);
  if (written_.count(blob) == 0) produced_.push_back(blob);
  values_[blob] = value;
  written_[blob] = index + 1;
  read_.erase(blob);
  return value;
}

ValueId CaffeGraphImporter::add_node(const caffe::Layer& layer, const std::string& operation,
                                     const std::vector<ValueId>& inputs,
                                     const CaffeLayer::Attributes& attributes,
                                     const std::vector<ValueId>& outputs) {
  NodeSource source;
  source.operation = operation;
  source.name = layer.name();
  source.opset = kCaffeOpset;
  source.attributes = attributes;
  source.output_count = static_cast<int>(outputs.size());
  for (const ValueId id : inputs) {
    const bool fixed = id != kNone && builder_.peek(id).is_constant();
    source.inputs.push_back(id != kNone);
    source.constants.push_back(fixed ? &builder_.peek(id).constant : nullptr);
  }
  const Registry::OnnxEntry entry = find_operator(registry_, "", operation, kCaffeOpset);
  auto [node, count] = read_node(entry, source, inputs, [&](Tensor tensor) {
    const std::string name = unique_name(layer.name() + ".constant");
    customary_[builder_.value(name)] = tensor.desc();
    return builder_.add_constant(name, std::move(tensor));
  });
  node.operation = layer.type();
  node.opset = 0;
  node.outputs = outputs;
  infer(node);
  builder_.add_node(std::move(node));
  return outputs[0];
}

/// What the node makes of inputs of customary size; nothing if they do not fit, which is judged
/// when the true ones are known.
void CaffeGraphImporter::infer(const Node& node) {
  std::vector<const TensorDesc*> inputs;
  std::vector<const Tensor*> constants;
  for (const ValueId id : node.inputs) {
    const auto it = customary_.find(id);
    if (id != kNone && it == customary_.end()) return;
    inputs.push_back(id == kNone ? nullptr : &it->second);
    const bool fixed = id != kNone && builder_.peek(id).is_constant();
    constants.push_back(fixed ? &builder_.peek(id).constant : nullptr);
  }
  try {
    const std::vector<TensorDesc> made = node.layer->infer(
        InferContext{node.attributes, inputs, constants, static_cast<int>(node.outputs.size())});
    for (size_t i = 0; i < std::min(made.size(), node.outputs.size()); ++i) {
      customary_[node.outputs[i]] = made[i];
    }
  } catch (const Error&) {
    return;
  }
}

}  // namespace camlucida
