// The functions that Python calls by native/kernels.py, for CPUs with AVX2 or AVX512-VNNI, with numbers of 32, 16 or 8 bits.
//
//     simd.h         sixteen numbers at a time, in either instruction set
//     arithmetic.h   exponential, GELU
//     quantize.h     rows of 32, 16 and 8 bits, and the inner product of a register tile
//     packing.h      the layout of packed weights, keys and values
//     attention.h    softmax attention                linear.h      layers with norm, activation and residual
//     hiera.h        a windowed block of the trunk    upscaling.h   the mask decoder's map to masks
//     convolutions.h the stem and the blocks of EfficientNet-Lite, and the memory encoder's downsampling
//     threads.h      the kernels' threads             arguments.h   the structs that Python passes
//
// Numbers of channels are multiples of LANES = 16. Rows of a matrix may have any stride.

#include "attention.h"
#include "convolutions.h"
#include "hiera.h"
#include "linear.h"
#include "upscaling.h"

#include <type_traits>

namespace {

template <class Function>
void with_number(int bits, Function function) {
    if (bits == 8) function(Int8{});
    if (bits == 16) function(Int16{});
    if (bits == 32) function(Float32{});
}

}  // namespace

extern "C" {

// Constants that must be equal in both languages.
void describe(int64_t* out) {
    const int64_t facts[] = {LANES,         PANEL_PAIR,         sizeof(Matrix),     sizeof(Rotation),
                             sizeof(KeyValues), sizeof(Layer), sizeof(HieraBlock), sizeof(Upscaling),
                             sizeof(InvertedResidual), sizeof(Stem), sizeof(Downsampling)};
    for (const int64_t fact : facts) *out++ = fact;
}

// Sets the number of threads of a call, including the calling thread.
void set_threads(int count) { thread_count.store(count < 1 ? 1 : count); }

// Packs keys, or the weight of a layer (outputs, inputs), into panels. The first `rotated` rows are rotated before.
void pack_rows(int bits, const Matrix* x, const Rotation* rotation, int64_t rotated, void* panels, float* scale) {
    with_number(bits, [&](auto number) { pack_panels<decltype(number)>(*x, rotation, rotated, panels, scale); });
}

// Packs values in 16 or 8 bits; scale (columns).
void pack_values(int bits, const Matrix* x, void* groups, float* scale) {
    with_number(bits, [&](auto number) {
        using Value = typename decltype(number)::Value;
        if constexpr (!std::is_same_v<Value, float>) pack_value_groups(*x, static_cast<Value*>(groups), scale);
    });
}

// Softmax attention: out (queries, value_width).
void attend(int bits, const Matrix* queries, float logit_scale, const Rotation* rotation, const KeyValues* keys, float* out) {
    with_number(bits, [&](auto number) {
        using Number = decltype(number);
        attend_as<Number, typename Number::Value>(*queries, logit_scale, rotation, *keys, out);
    });
}

// Linear layers, each activation(norm(x) W^T + bias), for x (rows, inputs): out (rows, outputs), plus the residual.
void linear(int bits, const Layer* layers, int count, const float* x, int64_t rows, const float* residual, float* out) {
    with_number(bits, [&](auto number) { run_layers<decltype(number)>(layers, count, x, rows, residual, out); });
}

// A block of Hiera, for maps (images, h, w, c): out (images, h / stride, w / stride, outputs).
void hiera_block(int bits, const HieraBlock* block, const float* x, int64_t images, int h, int w, float* out) {
    with_number(bits, [&](auto number) { run_hiera_block<decltype(number)>(*block, x, images, h, w, out); });
}

// The decoder's upscaling, for a map (height, width, inputs of up1): logits (masks, 4 height, 4 width).
void upscale(const Upscaling* up, const float* image, float* out) { run_upscaling(*up, image, out); }

// A block of EfficientNet-Lite, for maps (images, h, w, inputs): out (images, h / stride, w / stride, outputs).
void inverted_residual(int bits, const InvertedResidual* block, const float* x, int64_t images, int h, int w, float* out) {
    const int64_t from = static_cast<int64_t>(h) * w * (block->expand.weight ? block->expand.inputs : block->hidden);
    const int64_t to = static_cast<int64_t>(convolved_length(h, block->stride)) * convolved_length(w, block->stride) * block->project.outputs;
    with_number(bits, [&](auto number) {
        for (int64_t i = 0; i < images; i++) run_inverted_residual<decltype(number)>(*block, x + i * from, h, w, out + i * to);
    });
}

// The stem of EfficientNet-Lite in float32, for images (images, 3, h, w): out (images, h / 2, w / 2, outputs).
void stem(const Stem* arguments, const float* x, int64_t images, int h, int w, float* out) {
    const int64_t to = static_cast<int64_t>(convolved_length(h, 2)) * convolved_length(w, 2) * arguments->layer.outputs;
    for (int64_t i = 0; i < images; i++) run_stem(*arguments, x + i * 3 * h * w, h, w, out + i * to);
}

// A depthwise convolution of side 3, 5 or 7 at stride 1, for maps (images, h, w, channels), a multiple of LANES.
void depthwise(const float* kernel, const float* bias, int side, int channels, const float* x, int64_t images, int h, int w, float* out) {
    const int64_t floats = static_cast<int64_t>(h) * w * channels;
    for (int64_t i = 0; i < images; i++) run_depthwise({kernel, bias, side, 1, channels, false}, x + i * floats, h, w, out + i * floats);
}

// Downsampling with layer norm and GELU, for maps (images, h, w, channels), h and w even: out (images, h / 2, w / 2, outputs).
void downsampling(int bits, const Downsampling* down, const float* x, int64_t images, int h, int w, float* out) {
    const int64_t from = static_cast<int64_t>(h) * w * down->channels, to = static_cast<int64_t>(h / 2) * (w / 2) * down->layer.outputs;
    with_number(bits, [&](auto number) {
        for (int64_t i = 0; i < images; i++) run_downsampling<decltype(number)>(*down, x + i * from, h, w, out + i * to);
    });
}

}  // extern "C"
