"""Triton kernels of attention over packed sequences, for GPUs; `fused_attention` starts them.

Scores are made block by block in fp32 and are never stored (FlashAttention-2, Dao, 2023). The backward pass makes them
twice: for the gradient of the queries, and for the gradients of keys and values. So no two blocks add to the same
memory, and a gradient is the same to the bit each time.

**Dropout.** A random number for each score would cost more than the matrix products. Instead, every query and every
key has a word, an odd integer of 32 bits. A score is kept if the product of the word of its query and the word of its
key, modulo 2**32, reaches a threshold. `PERIOD` words for queries and `PERIOD` for keys are drawn for each head of each
sequence. Words further on are those of `PERIOD` tokens before, times a multiplier of the generators of L'Ecuyer (1999).
Decisions about two scores, or about three, are as good as independent.
"""

import triton
import triton.language as tl

PERIOD = tl.constexpr(32)
QUERY_MULTIPLIER, KEY_MULTIPLIER = tl.constexpr(2396548189), tl.constexpr(1099087573)
LOG2_E = tl.constexpr(1.4426950408889634)
WORD_VALUES = tl.constexpr(4294967296.0)


@triton.jit
def _load_words(words, first, count: tl.constexpr, multiplier: tl.constexpr) -> tl.tensor:
    """Return the words of the `count` tokens after the first `first`, a multiple of PERIOD."""
    index = tl.arange(0, count)
    factor = tl.full((count,), 1, tl.uint32)
    for block in tl.static_range(1, count // PERIOD):
        factor = tl.where(index >= block * PERIOD, factor * multiplier, factor)
    for _ in range(0, first, PERIOD):
        factor *= multiplier
    return (tl.load(words + index % PERIOD).to(tl.uint32, bitcast=True) | 1) * factor


@triton.jit
def _next_words(words, count: tl.constexpr, multiplier: tl.constexpr) -> tl.tensor:
    """Return the words of the next `count` tokens."""
    for _ in tl.static_range(0, count // PERIOD):
        words *= multiplier
    return words


@triton.jit(do_not_specialize=["num_tokens"], do_not_specialize_on_alignment=["cu_seqlens"])
def forward_kernel(
    qkv, context, log_sums, cu_seqlens, words, num_tokens, scale, cutoff: tl.constexpr,
    num_heads: tl.constexpr, head_dim: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr,
) -> None:  # fmt: skip
    """Attend from `rows` queries of a head to all keys of their sequence."""
    head, sequence = tl.program_id(1), tl.program_id(2)
    begin = tl.load(cu_seqlens + sequence)
    length = tl.load(cu_seqlens + sequence + 1) - begin
    first_row = tl.program_id(0) * rows
    if first_row >= length:
        return
    row, dim = first_row + tl.arange(0, rows), tl.arange(0, head_dim)
    is_row = row < length
    step: tl.constexpr = 3 * num_heads * head_dim
    qkv += begin.to(tl.int64) * step + head * head_dim
    query = tl.load(qkv + row[:, None] * step + dim[None, :], mask=is_row[:, None], other=0.0)
    if cutoff:
        words += (sequence * num_heads + head) * (2 * PERIOD)
        query_words = _load_words(words, first_row, rows, QUERY_MULTIPLIER)
        key_words = _load_words(words + PERIOD, 0, columns, KEY_MULTIPLIER)
    largest = tl.full((rows,), float("-inf"), tl.float32)
    total = tl.zeros((rows,), tl.float32)
    summed = tl.zeros((rows, head_dim), tl.float32)
    for first_column in range(0, length, columns):
        column = first_column + tl.arange(0, columns)
        is_column = column < length
        at_key = qkv + column[:, None] * step + dim[None, :] + num_heads * head_dim
        key = tl.load(at_key, mask=is_column[:, None], other=0.0)
        value = tl.load(at_key + num_heads * head_dim, mask=is_column[:, None], other=0.0)
        scores = tl.dot(query, tl.trans(key)) * scale + tl.where(is_column, 0.0, float("-inf"))[None, :]
        now_largest = tl.maximum(largest, tl.max(scores, 1))
        weights = tl.exp2(scores - now_largest[:, None])
        shrink = tl.exp2(largest - now_largest)
        total = total * shrink + tl.sum(weights, 1)
        if cutoff:
            weights = tl.where(query_words[:, None] * key_words[None, :] >= cutoff, weights, 0.0)
            key_words = _next_words(key_words, columns, KEY_MULTIPLIER)
        summed = tl.dot(weights.to(value.dtype), value, summed * shrink[:, None])
        largest = now_largest
    if cutoff:
        summed *= WORD_VALUES / (WORD_VALUES - cutoff)
    context += (begin.to(tl.int64) * num_heads + head) * head_dim
    at_row = row[:, None] * (num_heads * head_dim) + dim[None, :]
    tl.store(context + at_row, (summed / total[:, None]).to(query.dtype), mask=is_row[:, None])
    tl.store(log_sums + head * num_tokens + begin + row, largest + tl.log2(total), mask=is_row)


@triton.jit(do_not_specialize=["num_tokens"], do_not_specialize_on_alignment=["cu_seqlens"])
def query_kernel(
    qkv, context, of_context, log_sums, row_sums, result, cu_seqlens, words, num_tokens, scale, cutoff: tl.constexpr,
    num_heads: tl.constexpr, head_dim: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr,
) -> None:  # fmt: skip
    """Make the gradient of `rows` queries of a head; and `row_sums`, the sums of context times its gradient."""
    head, sequence = tl.program_id(1), tl.program_id(2)
    begin = tl.load(cu_seqlens + sequence)
    length = tl.load(cu_seqlens + sequence + 1) - begin
    first_row = tl.program_id(0) * rows
    if first_row >= length:
        return
    row, dim = first_row + tl.arange(0, rows), tl.arange(0, head_dim)
    is_row = row < length
    step: tl.constexpr = 3 * num_heads * head_dim
    offset = begin.to(tl.int64) * step + head * head_dim
    at_query = row[:, None] * step + dim[None, :]
    query = tl.load(qkv + offset + at_query, mask=is_row[:, None], other=0.0)
    at_row = (begin.to(tl.int64) * num_heads + head) * head_dim + row[:, None] * (num_heads * head_dim) + dim[None, :]
    d_context = tl.load(of_context + at_row, mask=is_row[:, None], other=0.0)
    row_context = tl.load(context + at_row, mask=is_row[:, None], other=0.0)
    row_sum = tl.sum(row_context.to(tl.float32) * d_context.to(tl.float32), 1)
    kept_share: tl.constexpr = (WORD_VALUES - cutoff) / WORD_VALUES
    row_sum *= kept_share
    at_sum = head * num_tokens + begin + row
    tl.store(row_sums + at_sum, row_sum, mask=is_row)
    log_sum = tl.load(log_sums + at_sum, mask=is_row, other=float("inf"))
    if cutoff:
        words += (sequence * num_heads + head) * (2 * PERIOD)
        query_words = _load_words(words, first_row, rows, QUERY_MULTIPLIER)
        key_words = _load_words(words + PERIOD, 0, columns, KEY_MULTIPLIER)
    d_query = tl.zeros((rows, head_dim), tl.float32)
    for first_column in range(0, length, columns):
        column = first_column + tl.arange(0, columns)
        is_column = column < length
        at_key = qkv + offset + column[:, None] * step + dim[None, :] + num_heads * head_dim
        key = tl.load(at_key, mask=is_column[:, None], other=0.0)
        value = tl.load(at_key + num_heads * head_dim, mask=is_column[:, None], other=0.0)
        weights = tl.exp2(tl.dot(query, tl.trans(key)) * scale - log_sum[:, None])
        # A filled-up key scores 0, which may be so far above all real scores that its weight is infinite.
        weights = tl.where(is_column[None, :], weights, 0.0)
        d_weights = tl.dot(d_context, tl.trans(value))
        if cutoff:
            d_weights = tl.where(query_words[:, None] * key_words[None, :] >= cutoff, d_weights, 0.0)
            key_words = _next_words(key_words, columns, KEY_MULTIPLIER)
        d_scores = weights * (d_weights - row_sum[:, None])
        d_query = tl.dot(d_scores.to(key.dtype), key, d_query)
    d_query *= scale / (LOG2_E * kept_share)
    tl.store(result + offset + at_query, d_query.to(query.dtype), mask=is_row[:, None])


@triton.jit(do_not_specialize=["num_tokens"], do_not_specialize_on_alignment=["cu_seqlens"])
def key_value_kernel(
    qkv, of_context, log_sums, row_sums, result, cu_seqlens, words, num_tokens, scale, cutoff: tl.constexpr,
    num_heads: tl.constexpr, head_dim: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr,
) -> None:  # fmt: skip
    """Make the gradients of `columns` keys and values of a head; scores and weights are transposed here."""
    head, sequence = tl.program_id(1), tl.program_id(2)
    begin = tl.load(cu_seqlens + sequence)
    length = tl.load(cu_seqlens + sequence + 1) - begin
    first_column = tl.program_id(0) * columns
    if first_column >= length:
        return
    column, dim = first_column + tl.arange(0, columns), tl.arange(0, head_dim)
    is_column = column < length
    step: tl.constexpr = 3 * num_heads * head_dim
    offset = begin.to(tl.int64) * step + head * head_dim
    at_key = offset + column[:, None] * step + dim[None, :] + num_heads * head_dim
    key = tl.load(qkv + at_key, mask=is_column[:, None], other=0.0)
    value = tl.load(qkv + at_key + num_heads * head_dim, mask=is_column[:, None], other=0.0)
    if cutoff:
        words += (sequence * num_heads + head) * (2 * PERIOD)
        query_words = _load_words(words, 0, rows, QUERY_MULTIPLIER)
        key_words = _load_words(words + PERIOD, first_column, columns, KEY_MULTIPLIER)
    d_key = tl.zeros((columns, head_dim), tl.float32)
    d_value = tl.zeros((columns, head_dim), tl.float32)
    of_context += (begin.to(tl.int64) * num_heads + head) * head_dim
    for first_row in range(0, length, rows):
        row = first_row + tl.arange(0, rows)
        is_row = row < length
        query = tl.load(qkv + offset + row[:, None] * step + dim[None, :], mask=is_row[:, None], other=0.0)
        at_row = row[:, None] * (num_heads * head_dim) + dim[None, :]
        d_context = tl.load(of_context + at_row, mask=is_row[:, None], other=0.0)
        at_sum = head * num_tokens + begin + row
        log_sum = tl.load(log_sums + at_sum, mask=is_row, other=float("inf"))
        row_sum = tl.load(row_sums + at_sum, mask=is_row, other=0.0)
        weights = tl.exp2(tl.dot(key, tl.trans(query)) * scale - log_sum[None, :])  # (columns, rows)
        d_weights = tl.dot(value, tl.trans(d_context))  # (columns, rows)
        kept = weights
        if cutoff:
            is_kept = key_words[:, None] * query_words[None, :] >= cutoff
            kept = tl.where(is_kept, kept, 0.0)
            d_weights = tl.where(is_kept, d_weights, 0.0)
            query_words = _next_words(query_words, rows, QUERY_MULTIPLIER)
        d_value = tl.dot(kept.to(d_context.dtype), d_context, d_value)
        d_scores = weights * (d_weights - row_sum[None, :])
        d_key = tl.dot(d_scores.to(query.dtype), query, d_key)
    kept_share: tl.constexpr = (WORD_VALUES - cutoff) / WORD_VALUES
    d_key *= scale / (LOG2_E * kept_share)
    tl.store(result + at_key, d_key.to(key.dtype), mask=is_column[:, None])
    tl.store(result + at_key + num_heads * head_dim, (d_value / kept_share).to(key.dtype), mask=is_column[:, None])
