"""Instructions that Numba does not offer: prefetch, paired copies, streaming stores, borrowing.

Called from `separable` and `streaming`. LLVM has them for every processor; none changes a result.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

intrinsic: Any = extending.intrinsic  # its own type counts the typing context as an argument

LINE = 64
"""Size of a cache line in bytes."""
_READ, _INTO_L2, _DATA = 0, 2, 1  # arguments of llvm.prefetch


def _element(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Pointer to one element of a contiguous array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def _without_owner(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    if isinstance(kind, types.Array):
        # Numba counts references through `meminfo` and `parent`; without them only an address is
        # left.
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        array.parent = cgutils.get_null_value(array.parent.type)
        return array._getvalue()
    for i, item in enumerate(getattr(kind, "types", ())):  # the items of a tuple
        part = _without_owner(context, builder, item, builder.extract_value(value, i))
        value = builder.insert_value(value, part, i)
    return value


@intrinsic
def borrowed(typing_context, value):  # type: ignore[no-untyped-def]
    """The same array, or tuple of arrays, without reference counts; the caller keeps it alive."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return _without_owner(context, builder, signature.args[0], arguments[0])

    return value(value), generate


@intrinsic
def prefetch(typing_context, row, index):  # type: ignore[no-untyped-def]
    """Prefetches the cache line of `row[index]`, which is read later; any index is safe."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = builder.bitcast(
            _element(context, builder, signature.args[0], *arguments), cgutils.voidptr_t
        )
        how = [ir.Constant(ir.IntType(32), value) for value in (_READ, _INTO_L2, _DATA)]
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, *(v.type for v in how)])
        llvm = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(llvm, [pointer, *how])
        return context.get_dummy_value()

    return types.void(row, types.int64), generate


@intrinsic
def copy_pair(typing_context, row, index, target, at):  # type: ignore[no-untyped-def]
    """Copies `row[index:index + 2]` to `target[at:at + 2]` in one load and one store, unchecked."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        row, index, target, at = arguments
        number = context.get_data_type(signature.args[0].dtype)
        pair = ir.VectorType(number, 2).as_pointer()
        align = context.get_abi_sizeof(number)
        source = _element(context, builder, signature.args[0], row, index)
        target = _element(context, builder, signature.args[2], target, at)
        # Aligned as one number is: a pair may begin at any number.
        both = builder.load(builder.bitcast(source, pair), align=align)
        builder.store(both, builder.bitcast(target, pair), align=align)
        return context.get_dummy_value()

    return types.void(row, types.uint64, target, types.uint64), generate


@intrinsic
def stream(typing_context, values, count, target, at):  # type: ignore[no-untyped-def]
    """Stores `values[:count]` at `target[at:]` past the caches, without reading the lines first.

    Returns how many values it stored: all up to the last whole cache line of `target`. The caller
    must issue a `fence` afterwards.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        _, count, _, at = arguments
        number = context.get_data_type(signature.args[0].dtype)
        size = context.get_abi_sizeof(number)
        lanes = LINE // size
        line = ir.VectorType(number, lanes).as_pointer()
        whole = count.type

        def element(which: int, index: Any) -> Any:
            return _element(context, builder, signature.args[which], arguments[which], index)

        # Numbers before the first whole line of the target: -address modulo LINE, in numbers.
        address = builder.ptrtoint(element(2, at), whole)
        before = builder.lshr(
            builder.and_(builder.neg(address), ir.Constant(whole, LINE - 1)),
            ir.Constant(whole, size.bit_length() - 1),
        )
        # Fewer values than reach the first whole line: all go one by one.
        before = builder.select(builder.icmp_signed("<", before, count), before, count)
        lines = builder.udiv(builder.sub(count, before), ir.Constant(whole, lanes))
        with cgutils.for_range(builder, before) as loop:
            value = builder.load(element(0, loop.index))
            builder.store(value, element(2, builder.add(at, loop.index)))
        # `nontemporal` on an aligned store of a whole line becomes a streaming store: the line is
        # not read from memory before it is overwritten, and evicts nothing from the caches.
        flag = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
        with cgutils.for_range(builder, lines) as loop:
            index = builder.add(before, builder.mul(loop.index, ir.Constant(whole, lanes)))
            source, target = element(0, index), element(2, builder.add(at, index))
            store = builder.store(
                builder.load(builder.bitcast(source, line), align=size),
                builder.bitcast(target, line), align=LINE,
            )  # fmt: skip
            store.set_metadata("nontemporal", flag)
        return builder.add(before, builder.mul(lines, ir.Constant(whole, lanes)))

    return types.int64(values, types.int64, target, types.int64), generate


@intrinsic
def fence(typing_context):  # type: ignore[no-untyped-def]
    """Makes the streamed stores of this thread visible to others before anything that follows."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate
