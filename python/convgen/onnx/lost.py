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


def share(net):
    """Of the multiply-adds that are known, in percent."""
    whole = sum(o.macs for o in net.operations)
    return 100 * sum(o.macs for o in net.operations if not o.lost) / whole if whole else None


def sentence(lost):
    reads = " and ".join(map(fed_by, lost.reads[:4])) + (" and others" if len(lost.reads) > 4 else "")
    why = "is not supported" if lost.why == "it is not supported" else f"cannot be read: {lost.why}"
    return f"{lost.op} {lost.label} {why}" + (f"; it reads {reads}" if reads else "")


def sentences(net):
    """One for each, and one for the share."""
    found = roots(net)
    said = [sentence(lost) for lost in found[:MOST_SAID]]
    if len(found) > MOST_SAID:
        said.append(f"and {len(found) - MOST_SAID} nodes more")
    part = share(net)
    if found and part is not None:
        without = "it" if len(found) == 1 else "them"
        said.append(f"without {without} and what follows, {part:.3g} % of the multiply-adds whose sizes are known are supported")
    return said
