#pragma once

/// Camlucida: runs a convolutional network and shows why it answered.
///
///     #include <camlucida/camlucida.h>
///
///     const auto model = camlucida::Model::load("model.onnx");
///     const auto image = camlucida::Image::load("cat.jpg");
///     const auto answer = model.explain(image, {.method = "gradcam"});
///     answer.explanations[0].save_overlay("cat.png");
///
/// `Model` covers the common case, `BatchExplainer` many pictures on a GPU. Its parts can be used
/// by hand: `Graph` (import_onnx), `Needs`, `Plan`, `Session`, `ExplainerRegistry`. Errors are
/// `camlucida::Error`.

#include "engine/error.h"
#include "engine/image/image.h"
#include "engine/import/onnx.h"
#include "engine/npy.h"
#include "engine/plan.h"
#include "engine/session.h"
#include "explain/batch_explainer.h"
#include "explain/explainer.h"
#include "explain/model.h"
