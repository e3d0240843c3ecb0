// A block of Hiera with windowed attention.

#pragma once

#include "attention.h"
#include "linear.h"

#include <cmath>
#include <cstring>

namespace {

// The largest of every four rows.
void take_maxima_of_four(const float* x, int64_t stride, int64_t n, int d, float* out) {
    for (int64_t r = 0; r < n; r++, x += 4 * stride, out += d)
        for (int i = 0; i < d; i += LANES) {
            const Floats a = max(load(x + i), load(x + stride + i));
            const Floats b = max(load(x + 2 * stride + i), load(x + 3 * stride + i));
            store(out + i, max(a, b));
        }
}

inline int64_t count_windows(int64_t side, int window) { return (side + window - 1) / window; }

// Windows per thread and chunk, with about ROW_BLOCK queries in total.
inline int windows_at_once(const HieraBlock& block) {
    return std::max(1, ROW_BLOCK * block.stride * block.stride / (block.window * block.window));
}

// The workspace of one thread, which computes some windows at a time. All cells of a window outside the map are zeros after
// the norm, so one key represents them, with the logarithm of their number as its bias.
template <class Number>
struct WindowAttentionBlock {
    using AttentionNumber = std::conditional_t<std::is_same_v<Number, Int8>, Int16, Number>;  // 16 bits cost little time, because a window has few keys

    const HieraBlock& block;
    const int h, w;                          // of the map
    const int c, width, d, o;                // channels: of the map, of all heads, of one head, and of the output
    const int window_cells, merged, at_once; // cells of a window; cells that are pooled to one; windows per chunk
    LayerStack<Number> shortcut, qkv, out, mlp;
    Attention<AttentionNumber, float> attention;
    PanelWriter<AttentionNumber> writer;
    std::vector<float> rows, projected, queries, attended, shortcut_rows, pooled_shortcut, out_rows;
    std::vector<typename AttentionNumber::Panel> panels;
    std::vector<float> scale, bias, values, value_scale;
    std::vector<int64_t> output_cell;  // the output cell of each query
    std::vector<int64_t> window_ends;  // the end of each window in the rows

    WindowAttentionBlock(const HieraBlock& block, int h, int w)
        : block(block), h(h), w(w), c(block.qkv.inputs), width(block.qkv.outputs / 3), d(width / block.heads), o(block.out.outputs),
          window_cells(block.window * block.window), merged(block.stride * block.stride), at_once(windows_at_once(block)),
          shortcut(&block.shortcut, merged > 1), qkv(&block.qkv, 1), out(&block.out, 1), mlp(block.mlp, 2),
          attention(d, d), writer(d) {
        const int max_rows = at_once * window_cells, keys = static_cast<int>(padded_rows(window_cells + 1));
        rows.resize(max_rows * c), projected.resize(max_rows * 3 * width), attended.resize(max_rows / merged * width), out_rows.resize(max_rows / merged * o);
        if (merged > 1) queries.resize(max_rows / 4 * width), shortcut_rows.resize(max_rows * o), pooled_shortcut.resize(max_rows / 4 * o);
        panels.resize(keys * d), scale.resize(keys), bias.resize(keys), values.resize(keys * d), value_scale.resize(d, 1.0f);
    }

    int64_t window_columns() const { return count_windows(w, block.window); }
    int64_t windows() const { return count_windows(h, block.window) * window_columns(); }

    void run(const float* map, int64_t first, int64_t last, float* out_map) {
        gather(map, first, last);
        const int64_t n = window_ends.back(), count = n / merged;
        qkv.run(rows.data(), n, nullptr, projected.data());
        if (merged > 1) {
            take_maxima_of_four(projected.data(), 3 * width, count, width, queries.data());
            shortcut.run(rows.data(), n, nullptr, shortcut_rows.data());
            take_maxima_of_four(shortcut_rows.data(), o, count, o, pooled_shortcut.data());
        }
        for (size_t i = 0; i + 1 < window_ends.size(); i++) attend_window(window_ends[i], window_ends[i + 1]);
        out.run(attended.data(), count, merged > 1 ? pooled_shortcut.data() : rows.data(), out_rows.data());
        mlp.run(out_rows.data(), count, out_rows.data(), out_rows.data());
        for (int64_t i = 0; i < count; i++) std::memcpy(out_map + output_cell[i] * o, &out_rows[i * o], o * sizeof(float));
    }

  private:
    void gather(const float* map, int64_t first, int64_t last) {
        const int side = block.window, step = block.stride;
        output_cell.clear(), window_ends.assign(1, 0);
        float* row = rows.data();
        for (int64_t i = first; i < last; i++) {
            const int64_t image = i / windows(), top = i % windows() / window_columns() * side, left = i % window_columns() * side;
            for (int64_t line = top; line < std::min<int64_t>(top + side, h); line += step)
                for (int64_t column = left; column < std::min<int64_t>(left + side, w); column += step) {
                    output_cell.push_back((image * (h / step) + line / step) * (w / step) + column / step);
                    for (int k = 0; k < merged; k++, row += c) {
                        const int64_t place = (image * h + line + k / step) * w + column + k % step;
                        std::memcpy(row, map + place * c, c * sizeof(float));
                    }
                }
            window_ends.push_back((row - rows.data()) / c);
        }
    }

    // The attention of one window.
    void attend_window(int64_t begin, int64_t end) {
        const int64_t stride = 3 * width, count = end - begin, outside = window_cells - count, keys_count = count + (outside > 0);
        std::fill(bias.begin(), bias.end(), MASKED_LOGIT);
        std::fill_n(bias.begin(), count, 0.0f);
        if (outside > 0) bias[count] = std::log(static_cast<float>(outside));
        const float* q = merged > 1 ? &queries[begin / 4 * width] : &projected[begin * stride];
        for (int head = 0; head < block.heads * d; head += d) {
            for (int64_t j = 0; j < padded_rows(keys_count); j++) {
                const float* row = j < count ? &projected[(begin + j) * stride] : block.qkv.bias;
                writer.write(j < keys_count ? row + width + head : nullptr, j, panels.data(), scale.data());
                std::memcpy(&values[j * d], row + 2 * width + head, d * sizeof(float));
            }
            const TypedKeys<AttentionNumber, float> keys{panels.data(), scale.data(), bias.data(), keys_count, values.data(), value_scale.data(), d, d};
            const int64_t q_stride = merged > 1 ? width : stride;
            for (int64_t i = 0; i < count / merged; i += ROW_BLOCK)
                attention.attend(q + i * q_stride + head, q_stride, std::min<int64_t>(ROW_BLOCK, count / merged - i), block.logit_scale,
                               nullptr, nullptr, keys, &attended[(begin / merged + i) * width + head], width);
        }
    }
};

template <class Number>
void run_hiera_block(const HieraBlock& block, const float* x, int64_t images, int h, int w, float* out) {
    const int64_t windows = images * count_windows(h, block.window) * count_windows(w, block.window);
    const int64_t at_once = windows_at_once(block);
    in_parallel((windows + at_once - 1) / at_once, [&](Chunks& chunks) {
        WindowAttentionBlock<Number> workspace(block, h, w);
        for (int64_t chunk; chunks.take(chunk);)
            workspace.run(x, chunk * at_once, std::min((chunk + 1) * at_once, windows), out);
    });
}

}  // namespace
