// The structs that Python passes. native/kernels.py defines the same structs, and compares their sizes when it loads the library.

#pragma once

#include <cstddef>
#include <cstdint>

namespace {

// Rows of float32 with contiguous channels.
struct Matrix {
    const float* data;
    int64_t stride;  // distance between rows, in floats
    int64_t rows;
    int columns;
};

// Angles of a rotary position embedding: (count, columns / 2) cosines and sines.
struct Rotation {
    const float *cosines, *sines;
    int64_t count;
};

// Packed keys with their values.
struct KeyValues {
    const void* keys;
    const float* key_scale;
    const float* bias;  // added to the logits of each key, -1e4 for the padding
    const void* values;
    const float* value_scale;
    int64_t count;
    int value_width;
};

// A packed linear layer with the layer norm before it and the activation after it.
struct Layer {
    const void* weight;
    const float *scale, *bias;             // one value for each row of the panels
    const float *norm_weight, *norm_bias;  // null without a norm
    float norm_eps;
    int inputs, outputs;
    int activation;  // 0 none, 1 ReLU, 2 GELU, 3 ReLU6
};

// A block of Hiera with windowed attention.
struct HieraBlock {
    Layer shortcut, qkv, out, mlp[2];
    int heads;
    int window;         // side of a window, in cells
    int stride;         // 2: queries and shortcut are pooled by the maximum of 2 x 2 cells; 1: no pooling and no shortcut
    float logit_scale;
};

// The mask decoder's upscaling: two doublings, then a product with each mask's weights.
struct Upscaling {
    Layer up1, up2;              // from one cell to four; up2 follows its norm and a GELU
    const float *middle, *fine;  // added after up1 and up2: (2h, 2w, inputs of up2), (4h, 4w, outputs of up2 / 4)
    const float* mask_weights;   // (masks, outputs of up2 / 4)
    int height, width, masks;
};

// An inverted residual block of EfficientNet-Lite: expand, depthwise convolution, project; ReLU6 after the first two.
struct InvertedResidual {
    Layer expand;                 // its weight is null if the block does not expand
    Layer project;
    const float *kernel, *bias;   // of the depthwise convolution: (side, side, hidden), (hidden)
    int side, stride, hidden;
    int residual;                 // whether the input is added to the result
};

// The stem of EfficientNet-Lite: scales and shifts the colours of a planar image, then a 3 x 3 convolution at stride 2.
struct Stem {
    Layer layer;                              // inputs (row, column, colour), padded
    const float *input_scale, *input_shift;  // for each colour
};

// A 3 x 3 convolution at stride 2 with zero padding, then a layer norm and a GELU.
struct Downsampling {
    Layer layer;                             // inputs (row, column, channel), padded
    const float *norm_weight, *norm_bias;    // one value for each output of the layer
    float norm_eps;
    int channels;                            // channels of the map
};

static_assert(sizeof(void*) == 8 && sizeof(int) == 4, "the layout below is that of 64-bit systems");
static_assert(sizeof(Matrix) == 32 && offsetof(Matrix, columns) == 24, "as in kernels.py");
static_assert(sizeof(Rotation) == 24, "as in kernels.py");
static_assert(sizeof(KeyValues) == 56 && offsetof(KeyValues, value_width) == 48, "as in kernels.py");
static_assert(sizeof(Layer) == 56 && offsetof(Layer, activation) == 52, "as in kernels.py");
static_assert(sizeof(HieraBlock) == 5 * 56 + 16, "as in kernels.py");
static_assert(sizeof(Upscaling) == 2 * 56 + 40 && offsetof(Upscaling, masks) == 144, "as in kernels.py");
static_assert(sizeof(InvertedResidual) == 2 * 56 + 32 && offsetof(InvertedResidual, residual) == 140, "as in kernels.py");
static_assert(sizeof(Stem) == 56 + 16, "as in kernels.py");
static_assert(sizeof(Downsampling) == 56 + 24 && offsetof(Downsampling, channels) == 76, "as in kernels.py");

}  // namespace
