#include "engine/registry.h"
#include "layers/linear/linear.h"
#include "layers/quantised/quantised.h"

/// Matrix products of codes: QLinearMatMul, MatMulInteger and QGemm (com.microsoft).
namespace camlucida {
namespace {

using namespace quantised;

/// Calls f(a, b, y), row-major indices of the operands and the result, for every product.
template <class F>
void for_each_product(const MatMulGeometry& g, F&& f) {
  for (int64_t i = 0; i < g.batch(); ++i) {
    const int64_t a = g.a_offsets[static_cast<size_t>(i)];
    const int64_t b = g.b_offsets[static_cast<size_t>(i)];
    for (int64_t r = 0; r < g.rows; ++r) {
      for (int64_t c = 0; c < g.columns; ++c) {
        for (int64_t k = 0; k < g.inner; ++k) {
          f(a + r * g.inner + k, b + k * g.columns + c, (i * g.rows + r) * g.columns + c);
        }
      }
    }
  }
}

/// A product of A and B, inputs of a layer, with the parameters of their codes.
struct Product {
  MatMulGeometry geometry;
  Grid a_grid;  ///< one scale and zero point, or one per row
  Grid b_grid;  ///< one scale and zero point, or one per column

  int64_t row(int64_t a) const { return a / geometry.inner % geometry.rows; }
  int64_t column(int64_t b) const { return b % geometry.columns; }

  std::vector<int64_t> sums(const RefTensor& a, const RefTensor& b, int64_t count) const {
    const auto a_codes = centred_codes(a, a_grid, [&](int64_t i) { return row(i); });
    const auto b_codes = centred_codes(b, b_grid, [&](int64_t i) { return column(i); });
    std::vector<int64_t> result(static_cast<size_t>(count), 0);
    for_each_product(geometry, [&](int64_t ai, int64_t bi, int64_t yi) {
      result[static_cast<size_t>(yi)] +=
          a_codes[static_cast<size_t>(ai)] * b_codes[static_cast<size_t>(bi)];
    });
    return result;
  }
  std::vector<double> numbers_of_a(const RefTensor& a) const {
    std::vector<double> result(static_cast<size_t>(a.count()));
    for (int64_t i = 0; i < a.count(); ++i) {
      result[static_cast<size_t>(i)] = a_grid.number(a_grid.read(a, i, row(i)), row(i));
    }
    return result;
  }
  std::vector<double> numbers_of_b(const RefTensor& b) const {
    std::vector<double> result(static_cast<size_t>(b.count()));
    for (int64_t i = 0; i < b.count(); ++i) {
      result[static_cast<size_t>(i)] = b_grid.number(b_grid.read(b, i, column(i)), column(i));
    }
    return result;
  }
  /// Adds the gradients of the float product, whose result has the gradient `grad_sums`.
  void back(const RefContext& context, size_t b_input, const std::vector<double>& grad_sums) const {
    const RefTensor& grad_a = context.grad_inputs[0];
    const RefTensor& grad_b = context.grad_inputs[b_input];
    if (grad_a) {
      const std::vector<double> b = numbers_of_b(context.inputs[b_input]);
      for_each_product(geometry, [&](int64_t ai, int64_t bi, int64_t yi) {
        grad_a[ai] += b[static_cast<size_t>(bi)] * grad_sums[static_cast<size_t>(yi)];
      });
    }
    if (grad_b) {
      const std::vector<double> a = numbers_of_a(context.inputs[0]);
      for_each_product(geometry, [&](int64_t ai, int64_t bi, int64_t yi) {
        grad_b[bi] += a[static_cast<size_t>(ai)] * grad_sums[static_cast<size_t>(yi)];
      });
    }
  }
};

Attributes writing_numbers(const Attributes&) { return QuantisedAttributes{true}; }

ExampleInput weights(Shape shape, DType type = DType::kUint8) {
  return code_input(std::move(shape), type, true);
}

// ---- QLinearMatMul -----------------------------------------------------------------------------

/// Inputs a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point.
Product qlinear_product(const RefContext& context) {
  return {matmul_geometry(context.inputs[0].shape, context.inputs[3].shape),
          Grid::of(context, 1, 2), Grid::of(context, 4, 5)};
}

std::vector<TensorDesc> infer(const InferContext& context) {
  const MatMulGeometry g = matmul_geometry(context.shape(0), context.shape(3));
  check_codes(context, 0, 2);
  check_codes(context, 3, 5);
  for (const int i : {1, 2}) check_parameter(context, i, g.rows);
  for (const int i : {4, 5}) check_parameter(context, i, g.columns);
  for (const int i : {6, 7}) check_parameter(context, i);
  const bool numbers = context.attributes.as<QuantisedAttributes>().numbers;
  return {{numbers ? DType::kFloat32 : code_type(context, 7), g.output}};
}

void forward(const RefContext& context) {
  const Product product = qlinear_product(context);
  const MatMulGeometry& g = product.geometry;
  const Grid y_grid = Grid::of(context, 6, 7);
  const RefTensor& y = context.outputs[0];
  const std::vector<int64_t> sums = product.sums(context.inputs[0], context.inputs[3], y.count());
  for (int64_t i = 0; i < y.count(); ++i) {
    const float scale = product.a_grid.scale(i / g.columns % g.rows) *
                        product.b_grid.scale(i % g.columns) / y_grid.scale();
    const float steps = static_cast<float>(wrap32(sums[static_cast<size_t>(i)])) * scale;
    y_grid.write(y, i, y_grid.rounded(steps));
  }
}

void backward(const RefContext& context) {
  if (!context.grad_outputs[0]) return;
  qlinear_product(context).back(
      context, 3,
      passed_gradient(context.grad_outputs[0], context.outputs[0], Grid::of(context, 6, 7)));
}

/// Parameters of a product that leaves about a tenth of its results saturated.
std::vector<ExampleInput> operands(ExampleInput a, ExampleInput b, double y_scale) {
  return {std::move(a),         scale_input({0.02}), zero_input({120}),      std::move(b),
          scale_input({0.004}), zero_input({131}),   scale_input({y_scale}), zero_input({94})};
}

LayerDef qlinear_matmul() {
  LayerDef layer;
  layer.name = "QLinearMatMul";
  layer.prototype = QuantisedAttributes{};
  layer.infer = infer;
  layer.forward = forward;
  layer.backward = backward;
  layer.saves = {.outputs = true, .factors = true};
  layer.multiply_adds = [](const InferContext& context, const std::vector<TensorDesc>&) {
    const MatMulGeometry g = matmul_geometry(context.shape(0), context.shape(3));
    return g.batch() * g.rows * g.inner * g.columns;
  };
  layer.codes = [](const Attributes&, int) {
    return CodePorts{.inputs = {port(0, 1, 2), port(3, 4, 5)}, .outputs = {port(0, 6, 7)}};
  };
  layer.writing_numbers = writing_numbers;
  layer.onnx = {{.name = "QLinearMatMul", .first_opset = 10}};
  const Attributes codes = QuantisedAttributes{};
  const Attributes numbers = QuantisedAttributes{true};
  Example per_column{"scale_per_column", numbers,
                     operands(number_input({2, 9}, -2, 2), weights({9, 3}), 0.02)};
  per_column.inputs[4] = scale_input({0.001, 0.02, 0.004});
  per_column.inputs[5] = zero_input({0, 200, 131});
  layer.examples = {
      rounding({"codes", codes, operands(code_input({3, 37}), weights({37, 11}), 0.04)}),
      rounding(
          {"numbers", numbers, operands(number_input({3, 37}, -2, 2), weights({37, 11}), 0.04)}),
      rounding({"two_activations", numbers,
                operands(number_input({2, 3, 4, 5}, -2, 2), number_input({2, 3, 5, 4}, -0.5, 0.5),
                         0.01)}),
      rounding(std::move(per_column)),
  };
  return layer;
}

// ---- MatMulInteger -----------------------------------------------------------------------------

/// Inputs a, b, a_zero_point, b_zero_point, the last two optional. Numbers of scale 1.
Product integer_product(const RefContext& context) {
  return {matmul_geometry(context.inputs[0].shape, context.inputs[1].shape),
          Grid::of(context, -1, 2, DType::kInt32), Grid::of(context, -1, 3, DType::kInt32)};
}

std::vector<TensorDesc> infer_integer(const InferContext& context) {
  const MatMulGeometry g = matmul_geometry(context.shape(0), context.shape(1));
  if (context.has(2)) check_codes(context, 0, 2);
  if (context.has(3)) check_codes(context, 1, 3);
  check_parameter(context, 2, g.rows);
  check_parameter(context, 3, g.columns);
  const bool numbers = context.attributes.as<QuantisedAttributes>().numbers;
  return {{numbers ? DType::kFloat32 : DType::kInt32, g.output}};
}

void forward_integer(const RefContext& context) {
  const std::vector<int64_t> sums = integer_product(context).sums(
      context.inputs[0], context.inputs[1], context.outputs[0].count());
  for (size_t i = 0; i < sums.size(); ++i) {
    context.outputs[0][static_cast<int64_t>(i)] = static_cast<double>(wrap32(sums[i]));
  }
}

void backward_integer(const RefContext& context) {
  const RefTensor& grad_y = context.grad_outputs[0];
  if (!grad_y) return;
  integer_product(context).back(context, 1, {grad_y.data, grad_y.data + grad_y.count()});
}

LayerDef matmul_integer() {
  LayerDef layer;
  layer.name = "MatMulInteger";
  layer.prototype = QuantisedAttributes{};
  layer.infer = infer_integer;
  layer.forward = forward_integer;
  layer.backward = backward_integer;
  layer.saves.factors = true;
  layer.multiply_adds = [](const InferContext& context, const std::vector<TensorDesc>&) {
    const MatMulGeometry g = matmul_geometry(context.shape(0), context.shape(1));
    return g.batch() * g.rows * g.inner * g.columns;
  };
  layer.codes = [](const Attributes&, int) {
    return CodePorts{.inputs = {port(0, -1, 2), port(1, -1, 3)}, .outputs = {{.index = 0}}};
  };
  layer.writing_numbers = writing_numbers;
  layer.onnx = {{.name = "MatMulInteger", .first_opset = 10}};
  const Attributes codes = QuantisedAttributes{};
  const Attributes numbers = QuantisedAttributes{true};
  layer.examples = {
      rounding({"codes",
                codes,
                {code_input({3, 9}), weights({9, 5}), zero_input({7}), zero_input({130})}}),
      rounding(
          {"numbers",
           numbers,
           {number_input({3, 9}, -7, 240), weights({9, 5}), zero_input({7}), zero_input({130})}}),
      rounding({"without_zero_points",
                codes,
                {code_input({2, 3, 4}, DType::kInt8), weights({4, 2}, DType::kInt8)}}),
      rounding({"zero_point_per_column",
                codes,
                {code_input({3, 4}), weights({4, 2}), zero_input({12}), zero_input({3, 200})}}),
  };
  return layer;
}

// ---- QGemm -------------------------------------------------------------------------------------

/// y = quantise(alpha A' B' + C). Inputs a, a_scale, a_zero_point, b, b_scale, b_zero_point,
/// c (optional, int32, in units of alpha a_scale b_scale), y_scale, y_zero_point. Without y_scale
/// the result is float32.
struct QGemmAttributes {
  double alpha = 1;
  bool trans_a = false;
  bool trans_b = false;
  bool numbers = false;

  void fields(auto& visit) {
    visit("alpha", alpha);
    visit("transA", trans_a);
    visit("transB", trans_b);
    visit("numbers", numbers);
  }
};

LinearGeometry gemm_geometry_of(const QGemmAttributes& attributes, const Shape& a, const Shape& b) {
  return gemm_geometry({.trans_a = attributes.trans_a, .trans_b = attributes.trans_b}, a, b);
}

/// Calls f(a, b, y) for every product.
template <class F>
void for_each_product(const LinearGeometry& g, F&& f) {
  for (int64_t r = 0; r < g.rows; ++r) {
    for (int64_t c = 0; c < g.columns; ++c) {
      for (int64_t k = 0; k < g.inner; ++k) {
        f(g.x_transposed ? k * g.rows + r : r * g.inner + k,
          g.weight_transposed ? c * g.inner + k : k * g.columns + c, r * g.columns + c);
      }
    }
  }
}

/// Column of B' that an element of B belongs to.
auto column_of(const LinearGeometry& g) {
  return [g](int64_t i) { return g.weight_transposed ? i / g.inner : i % g.columns; };
}

std::vector<TensorDesc> infer_gemm(const InferContext& context) {
  const auto& attributes = context.attributes.as<QGemmAttributes>();
  const LinearGeometry g = gemm_geometry_of(attributes, context.shape(0), context.shape(3));
  check_codes(context, 0, 2);
  check_codes(context, 3, 5);
  for (const int i : {1, 2, 7, 8}) check_parameter(context, i);
  for (const int i : {4, 5}) check_parameter(context, i, g.columns);
  const Shape y{g.rows, g.columns};
  if (context.has(6) && broadcast(context.shape(6), y) != y) {
    throw Error(ErrorKind::kModel, "operand C " + context.shape(6).to_string() +
                                       " does not fit the result " + y.to_string());
  }
  const bool numbers = attributes.numbers || !context.has(7);
  return {{numbers ? DType::kFloat32 : code_type(context, 8), y}};
}

void forward_gemm(const RefContext& context) {
  const auto& attributes = context.attributes.as<QGemmAttributes>();
  const LinearGeometry g =
      gemm_geometry_of(attributes, context.inputs[0].shape, context.inputs[3].shape);
  const Grid a_grid = Grid::of(context, 1, 2);
  const Grid b_grid = Grid::of(context, 4, 5);
  const Grid y_grid = Grid::of(context, 7, 8);
  const RefTensor& y = context.outputs[0];
  const std::vector<int64_t> a = centred_codes(context.inputs[0], a_grid);
  const std::vector<int64_t> b = centred_codes(context.inputs[3], b_grid, column_of(g));
  std::vector<int64_t> sums(static_cast<size_t>(y.count()), 0);
  for_each_product(g, [&](int64_t ai, int64_t bi, int64_t yi) {
    sums[static_cast<size_t>(yi)] += a[static_cast<size_t>(ai)] * b[static_cast<size_t>(bi)];
  });
  // C is a scalar, a row, a column or a matrix.
  const Shape c_shape = context.has(6) ? context.inputs[6].shape : Shape{};
  const int rank = c_shape.rank();
  const int64_t c_columns = rank > 0 ? c_shape[rank - 1] : 1;
  const int64_t c_rows = rank > 1 ? c_shape[rank - 2] : 1;
  for (int64_t i = 0; i < y.count(); ++i) {
    const int64_t column = i % g.columns;
    const int64_t c = (c_rows == 1 ? 0 : i / g.columns) * c_columns + (c_columns == 1 ? 0 : column);
    const int64_t addend = context.has(6) ? static_cast<int64_t>(context.inputs[6][c]) : 0;
    const auto sum = static_cast<float>(wrap32(sums[static_cast<size_t>(i)] + addend));
    const float scale =
        static_cast<float>(attributes.alpha) * a_grid.scale() * b_grid.scale(column);
    if (context.has(7)) {
      y_grid.write(y, i, y_grid.rounded(sum * (scale / y_grid.scale())));
    } else {
      y[i] = sum * scale;
    }
  }
}

void backward_gemm(const RefContext& context) {
  const RefTensor& grad_a = context.grad_inputs[0];
  const RefTensor& grad_y = context.grad_outputs[0];
  if (!grad_a || !grad_y) return;
  const auto& attributes = context.attributes.as<QGemmAttributes>();
  const LinearGeometry g =
      gemm_geometry_of(attributes, context.inputs[0].shape, context.inputs[3].shape);
  const Grid b_grid = Grid::of(context, 4, 5);
  const RefTensor& b = context.inputs[3];
  const auto column = column_of(g);
  const std::vector<double> passed =
      context.has(7) ? passed_gradient(grad_y, context.outputs[0], Grid::of(context, 7, 8))
                     : std::vector<double>(grad_y.data, grad_y.data + grad_y.count());
  for_each_product(g, [&](int64_t ai, int64_t bi, int64_t yi) {
    const int64_t c = column(bi);
    grad_a[ai] += attributes.alpha * b_grid.number(b_grid.read(b, bi, c), c) *
                  passed[static_cast<size_t>(yi)];
  });
}

LayerDef qgemm() {
  LayerDef layer;
  layer.name = "QGemm";
  layer.prototype = QGemmAttributes{};
  layer.infer = infer_gemm;
  layer.forward = forward_gemm;
  layer.backward = backward_gemm;
  layer.saves = {.outputs = true, .factors = true};
  layer.multiply_adds = [](const InferContext& context, const std::vector<TensorDesc>& outputs) {
    const LinearGeometry g = gemm_geometry_of(context.attributes.as<QGemmAttributes>(),
                                              context.shape(0), context.shape(3));
    return outputs[0].shape.count() * g.inner;
  };
  layer.codes = [](const Attributes&, int inputs) {
    CodePorts ports{.inputs = {port(0, 1, 2)}};
    if (inputs > 7) ports.outputs = {port(0, 7, 8)};
    return ports;
  };
  layer.writing_numbers = [](const Attributes& attributes) {
    QGemmAttributes result = attributes.as<QGemmAttributes>();
    result.numbers = true;
    return Attributes(result);
  };
  layer.onnx = {{.name = "QGemm",
                 .read =
                     [](const NodeSource& node) {
                       return Reading{QGemmAttributes{node.number("alpha", 1),
                                                      node.integer("transA", 0) != 0,
                                                      node.integer("transB", 0) != 0}};
                     },
                 .domain = "com.microsoft"}};
  const auto example = [](const char* name, QGemmAttributes attributes, ExampleInput a,
                          ExampleInput b, ExampleInput c, bool float_result = false) {
    Example result{name, attributes, operands(std::move(a), std::move(b), 0.05)};
    result.inputs.insert(result.inputs.begin() + 6, std::move(c));
    if (float_result) result.inputs.resize(7);
    result.batched = !attributes.trans_a;
    return rounding(std::move(result));
  };
  const auto addend = [](Shape shape) {
    return ExampleInput{.shape = std::move(shape),
                        .dtype = DType::kInt32,
                        .constant = true,
                        .low = -9000,
                        .high = 9000};
  };
  layer.examples = {
      example("codes", {}, code_input({3, 20}), weights({20, 7}), addend({7})),
      example("numbers", {.trans_b = true, .numbers = true}, number_input({3, 20}, -2, 2),
              weights({7, 20}), addend({1, 7})),
      example("float_result", {.alpha = 0.5}, number_input({2, 9}, -2, 2), weights({9, 4}),
              addend({}), true),
      example("transposed_without_c", {.trans_a = true, .numbers = true},
              number_input({9, 2}, -2, 2), weights({9, 4}), {.absent = true}),
  };
  return layer;
}

}  // namespace

void register_qlinear_matmul(Registry& registry) {
  registry.add(qlinear_matmul());
  registry.add(matmul_integer());
  registry.add(qgemm());
}

}  // namespace camlucida
