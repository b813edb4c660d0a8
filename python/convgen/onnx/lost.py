"""Sentences about what cannot be read: which node, what feeds it, and what share of the multiply-adds there is without it."""
MOST_SAID = 8


def roots(net):
    """What must be supported before all outputs can be: lost nodes that follow no other one, first ones first."""
    found, seen, ahead = set(), set(), [value for _, value in net.outputs]
    while ahead:
        value = ahead.pop()
        if not value.lost or value in seen:
            continue
        seen.add(value)
        reads = value.maker.operands if value.maker else value.lost.reads
        ahead.extend(reads)
        if not (value.lost.cause or value.maker and any(v.lost for v in reads)):
            found.add(value.lost)
    return sorted(found, key=lambda lost: lost.place)


def fed_by(value):
    if value.maker:
        return f"{value.name or value.maker.node.label} of {value.maker.node.op} {value.maker.node.label}"
    kind = "the constant" if value.array is not None else "what is left out," if value.lost else "the input"
    return f"{kind} {value.name}" if value.name else kind


MULTIPLY = ("Conv", "ConvTranspose", "Gemm", "MatMul", "com.microsoft.FusedConv")


def share(net):
    """How much of the multiply-adds that are known can be done, in words."""
    whole = sum(o.macs for o in net.operations) + sum(lost.macs for lost in net.left_out)
    done = sum(o.macs for o in net.operations if not o.lost)
    unknown = sum(lost.op in MULTIPLY for lost in net.left_out)
    beside = f" (the sizes of {unknown} convolutions and products more are not known)" if unknown else ""
    return f"{100 * done / whole:.3g} % of the multiply-adds are supported{beside}" if whole else ""


def sentence(alike):
    """Of nodes of one operation that are lost for one reason."""
    first, others = alike[0], len(alike) - 1
    reads = " and ".join(map(fed_by, first.reads[:4])) + (" and others" if len(first.reads) > 4 else "")
    who = f"{first.op} {first.label}" + (f" and {others} more" if others else "")
    why = ("are" if others else "is") + " not supported" if first.why == "it is not supported" else f"cannot be read: {first.why}"
    return f"{who} {why}" + (f"; {'the first' if others else 'it'} reads {reads}" if reads else "")


def grouped(found):
    groups = {}
    for lost in found:
        groups.setdefault((lost.op, lost.why), []).append(lost)
    return list(groups.values())


def sentences(net):
    """One for each operation, and one for the share."""
    groups, part = grouped(roots(net)), share(net)
    said = [sentence(alike) for alike in groups[:MOST_SAID]]
    if len(groups) > MOST_SAID:
        said.append(f"and {len(groups) - MOST_SAID} operations more")
    if groups and part:
        without = "it" if sum(map(len, groups)) == 1 else "them"
        said.append(f"without {without} and what follows, {part}")
    return said
