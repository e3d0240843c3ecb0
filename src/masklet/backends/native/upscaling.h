// The mask decoder's upscaling in float32: doubles the map twice, adds the encoder's finer maps, and multiplies channels by the
// weights of each mask.

#pragma once

#include "linear.h"

#include <utility>

namespace {

// ROW_BLOCK cells of the map at a time are computed up to the logits, so that the intermediate maps are never stored.
struct Upscaler {
    const Upscaling& up;
    const int c2, c4;  // channels after the first and the second doubling
    const Layer without_norm;
    LayerStack<Float32> first, second;
    std::vector<float> twice, four;

    explicit Upscaler(const Upscaling& up)
        : up(up), c2(up.up2.inputs), c4(up.up2.outputs / 4), without_norm(drop_norm(up.up2)), first(&up.up1, 1), second(&without_norm, 1),
          twice(ROW_BLOCK * 4 * c2), four(ROW_BLOCK * 16 * c4) {}

    void run(const float* image, int64_t begin, int count, float* out) {
        first.run(image + begin * up.up1.inputs, count, nullptr, twice.data());
        for (int i = 0; i < 4 * count; i++) {
            float* cell = &twice[i * c2];
            const auto [y, x] = place(begin + i / 4, i % 4, up.width);
            const float* middle = up.middle + (static_cast<int64_t>(y) * 2 * up.width + x) * c2;
            for (int c = 0; c < c2; c += LANES) store(cell + c, add(load(cell + c), load(middle + c)));
            normalize(up.up2, cell, cell);
            for (int c = 0; c < c2; c += LANES) store(cell + c, gelu(load(cell + c)));
        }
        second.run(twice.data(), 4 * count, nullptr, four.data());
        for (int i = 0; i < 16 * count; i++) {
            const auto [top, left] = place(begin + i / 16, i / 4 % 4, up.width);
            draw(&four[i * c4], 2 * top + i % 4 / 2, 2 * left + i % 2, out);
        }
    }

  private:
    static Layer drop_norm(Layer layer) {
        layer.norm_weight = nullptr;
        return layer;
    }

    // The corner (y, x) of a cell after doubling.
    static std::pair<int, int> place(int64_t cell, int corner, int w) {
        return {static_cast<int>(cell / w * 2 + corner / 2), static_cast<int>(cell % w * 2 + corner % 2)};
    }

    void draw(const float* cell, int y, int x, float* out) const {
        const int64_t area = static_cast<int64_t>(16) * up.height * up.width, at = static_cast<int64_t>(y) * 4 * up.width + x;
        for (int mask = 0; mask < up.masks; mask += 4) {
            const int some = std::min(4, up.masks - mask);
            Floats sums[4] = {};
            for (int c = 0; c < c4; c += LANES) {
                const Floats value = gelu(add(load(cell + c), load(up.fine + at * c4 + c)));
                for (int m = 0; m < some; m++) sums[m] = fmadd(value, load(up.mask_weights + (mask + m) * c4 + c), sums[m]);
            }
            for (int m = 0; m < some; m++) out[(mask + m) * area + at] = reduce_add(sums[m]);
        }
    }
};

void run_upscaling(const Upscaling& up, const float* image, float* out) {
    const int64_t cells = static_cast<int64_t>(up.height) * up.width;
    in_parallel((cells + ROW_BLOCK - 1) / ROW_BLOCK, [&](Chunks& chunks) {
        Upscaler workspace(up);
        for (int64_t chunk; chunks.take(chunk);) {
            const int64_t begin = chunk * ROW_BLOCK;
            workspace.run(image, begin, static_cast<int>(std::min<int64_t>(ROW_BLOCK, cells - begin)), out);
        }
    });
}

}  // namespace
