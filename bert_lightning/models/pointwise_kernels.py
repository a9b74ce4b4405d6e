"""Triton kernels of what stands between the matrix products of a layer, for GPUs; `fused_pointwise` starts them.

Each of them is bound by memory: it reads and writes every tensor once. The backward kernels also sum gradients over
the tokens, for biases and LayerNorm. A program goes through its share of the tokens and stores its sums, which are
added up afterwards. So a gradient is the same to the bit each time, and no kernel reads a gradient for its sum alone.

**Dropout.** An element is kept if a hash of its index and of two random words, in the manner of MurmurHash3's last step
(Appleby, 2011), reaches a threshold. The backward pass makes the hash again, so that no mask is stored.

**GELU.** The normal distribution comes from a formula for erf with an error of at most 1.5e-7 (Abramowitz and Stegun,
1964, 7.1.26). With `tl.erf` the kernels have 1.6 times as many instructions, and wait for them and not for memory. The
exponential of the formula is also the one of the derivative.
"""

import triton
import triton.language as tl

WORD_VALUES = tl.constexpr(4294967296.0)
INVERSE_SQRT_2_PI, HALF_LOG2_E = tl.constexpr(0.3989422804014327), tl.constexpr(0.7213475204444817)


@triton.jit
def _is_kept(words, index, cutoff: tl.constexpr) -> tl.tensor:
    """Return which elements dropout keeps."""
    first = tl.load(words).to(tl.uint32, bitcast=True)
    second = tl.load(words + 1).to(tl.uint32, bitcast=True)
    mixed = index.to(tl.uint32) * 2654435769 + first
    mixed = (mixed ^ (mixed >> 16)) * 2246822507 ^ second
    mixed = (mixed ^ (mixed >> 13)) * 3266489909
    return (mixed ^ (mixed >> 16)) >= cutoff


@triton.jit(do_not_specialize=["num_tokens"])
def normalize_kernel(
    update, bias, residual, weight, shift, words, added, result, means, inverse_deviations, num_tokens, eps,
    cutoff: tl.constexpr, hidden: tl.constexpr, width: tl.constexpr, rows: tl.constexpr,
) -> None:  # fmt: skip
    """Add dropout of an update to a residual stream and normalize, for `rows` tokens; `added` is what is normalized."""
    row, column = tl.program_id(0) * rows + tl.arange(0, rows), tl.arange(0, width)
    is_row, is_column = row < num_tokens, column < hidden
    is_real = is_row[:, None] & is_column[None, :]
    at = row.to(tl.int64)[:, None] * hidden + column[None, :]
    x = tl.load(update + at, mask=is_real, other=0.0).to(tl.float32)
    x += tl.load(bias + column, mask=is_column, other=0.0).to(tl.float32)[None, :]
    if cutoff:
        x = tl.where(_is_kept(words, at, cutoff), x * (WORD_VALUES / (WORD_VALUES - cutoff)), 0.0)
    x += tl.load(residual + at, mask=is_real, other=0.0).to(tl.float32)
    rounded = x.to(added.dtype.element_ty)
    tl.store(added + at, rounded, mask=is_real)
    x = rounded.to(tl.float32)
    mean = tl.sum(x, 1) / hidden
    centered = tl.where(is_real, x - mean[:, None], 0.0)
    inverse_deviation = 1 / tl.sqrt(tl.sum(centered * centered, 1) / hidden + eps)
    normal = centered * inverse_deviation[:, None]
    normal *= tl.load(weight + column, mask=is_column, other=0.0).to(tl.float32)[None, :]
    normal += tl.load(shift + column, mask=is_column, other=0.0).to(tl.float32)[None, :]
    tl.store(result + at, normal.to(result.dtype.element_ty), mask=is_real)
    tl.store(means + row, mean, mask=is_row)
    tl.store(inverse_deviations + row, inverse_deviation, mask=is_row)


@triton.jit(do_not_specialize=["num_tokens"])
def normalize_backward_kernel(
    gradient, other_gradient, added, means, inverse_deviations, weight, words, d_update, d_residual, sums, num_tokens,
    cutoff: tl.constexpr, has_other: tl.constexpr, hidden: tl.constexpr, width: tl.constexpr, rows: tl.constexpr,
) -> None:  # fmt: skip
    """Make the gradients of update and residual, and this program's sums for weight, shift and bias.

    Without dropout both gradients are one, in `d_residual`.
    """
    column = tl.arange(0, width)
    is_column = column < hidden
    factor = tl.load(weight + column, mask=is_column, other=0.0).to(tl.float32)[None, :]
    weight_sum = tl.zeros((rows, width), tl.float32)
    shift_sum = tl.zeros((rows, width), tl.float32)
    bias_sum = tl.zeros((rows, width), tl.float32)
    for first_row in range(tl.program_id(0) * rows, num_tokens, tl.num_programs(0) * rows):
        row = first_row + tl.arange(0, rows)
        is_row = row < num_tokens
        is_real = is_row[:, None] & is_column[None, :]
        at = row.to(tl.int64)[:, None] * hidden + column[None, :]
        g = tl.load(gradient + at, mask=is_real, other=0.0).to(tl.float32)
        if has_other:
            g += tl.load(other_gradient + at, mask=is_real, other=0.0).to(tl.float32)
        x = tl.load(added + at, mask=is_real, other=0.0).to(tl.float32)
        mean = tl.load(means + row, mask=is_row, other=0.0)[:, None]
        inverse_deviation = tl.load(inverse_deviations + row, mask=is_row, other=0.0)[:, None]
        normal = tl.where(is_real, (x - mean) * inverse_deviation, 0.0)
        scaled = g * factor
        along_normal = (tl.sum(scaled * normal, 1) / hidden)[:, None]
        d = (scaled - (tl.sum(scaled, 1) / hidden)[:, None] - normal * along_normal) * inverse_deviation
        d = tl.where(is_real, d, 0.0)
        tl.store(d_residual + at, d.to(d_residual.dtype.element_ty), mask=is_real)
        if cutoff:
            d = tl.where(_is_kept(words, at, cutoff), d * (WORD_VALUES / (WORD_VALUES - cutoff)), 0.0)
            tl.store(d_update + at, d.to(d_update.dtype.element_ty), mask=is_real)
        weight_sum += g * normal
        shift_sum += g
        bias_sum += d
    sums += tl.program_id(0) * (3 * hidden) + column
    tl.store(sums, tl.sum(weight_sum, 0), mask=is_column)
    tl.store(sums + hidden, tl.sum(shift_sum, 0), mask=is_column)
    tl.store(sums + 2 * hidden, tl.sum(bias_sum, 0), mask=is_column)


@triton.jit
def _normal_distribution(z) -> tuple[tl.tensor, ...]:
    """Return the probability of a standard normal number below z, and exp(-z * z / 2)."""
    e = tl.exp2(z * z * -HALF_LOG2_E)
    t = tl.rsqrt(1.0 + 0.231641888 * tl.abs(z))
    t = t * t  # one over the sum; a division takes more instructions
    q = 0.530702714 * t - 0.7265760135
    q = 0.7107068705 + t * q
    q = -0.142248368 + t * q
    above = (0.127414796 + t * q) * t * e
    return tl.where(z < 0, above, 1.0 - above), e


@triton.jit(do_not_specialize=["num_tokens"])
def gelu_kernel(x, bias, result, num_tokens, width: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr) -> None:
    """Apply GELU to x + bias, for a block of tokens and features."""
    row, column = tl.program_id(0) * rows + tl.arange(0, rows), tl.program_id(1) * columns + tl.arange(0, columns)
    is_real = (row < num_tokens)[:, None] & (column < width)[None, :]
    at = row.to(tl.int64)[:, None] * width + column[None, :]
    z = tl.load(x + at, mask=is_real, other=0.0).to(tl.float32)
    z += tl.load(bias + column, mask=column < width, other=0.0).to(tl.float32)[None, :]
    below, _ = _normal_distribution(z)
    tl.store(result + at, (z * below).to(result.dtype.element_ty), mask=is_real)


@triton.jit(do_not_specialize=["num_tokens"])
def gelu_backward_kernel(
    gradient, x, bias, result, sums, num_tokens,
    width: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr,
) -> None:  # fmt: skip
    """Make the gradient of x, for a block of features and a share of the tokens, and its sums for the bias."""
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    is_column = column < width
    shift = tl.load(bias + column, mask=is_column, other=0.0).to(tl.float32)[None, :]
    total = tl.zeros((rows, columns), tl.float32)
    for first_row in range(tl.program_id(0) * rows, num_tokens, tl.num_programs(0) * rows):
        row = first_row + tl.arange(0, rows)
        is_real = (row < num_tokens)[:, None] & is_column[None, :]
        at = row.to(tl.int64)[:, None] * width + column[None, :]
        z = tl.load(x + at, mask=is_real, other=0.0).to(tl.float32) + shift
        below, e = _normal_distribution(z)
        slope = below + z * e * INVERSE_SQRT_2_PI
        d = tl.load(gradient + at, mask=is_real, other=0.0).to(tl.float32) * slope
        tl.store(result + at, d.to(result.dtype.element_ty), mask=is_real)
        total += d
    tl.store(sums + tl.program_id(0) * width + column, tl.sum(total, 0), mask=is_column)
