-- types.lua: what elements are, one row a type.
--
-- bytes: of one element. c: its name in C. digits: of its fraction; the unit roundoff is 2^-digits. sums: the type that
-- programs compute with it in. pack: how its bytes are written. number: what emitted programs call it. How an
-- instruction set and vec.h spell what is done with a type is theirs (isa/, lower/c.lua).
local types = { rows = {
  f32 = { bytes = 4, c = "float", digits = 24, sums = "f32", pack = "<f", number = 0 },
  f64 = { bytes = 8, c = "double", digits = 53, sums = "f64", pack = "<d", number = 1 },
} }

-- What a problem's programs compute in, and what its tensors (src, weights, ...) are stored as: all have its type. What
-- stages keep for themselves is stored as it is computed.
local kept = { packed = true, shared = true, scratch = true }
function types.computed(p) return types.rows[p.type].sums end
function types.of(p, base) return kept[base] and types.computed(p) or p.type end

function types.bytes(name) return types.rows[name].bytes end
function types.c(name) return types.rows[name].c end
function types.pack(name, value) return string.pack(types.rows[name].pack, value) end

-- Those of some kind, for a sentence.
function types.names(fits)
  local list = {}
  for name, row in pairs(types.rows) do if not fits or fits(row) then list[#list + 1] = name end end
  table.sort(list)
  return table.concat(list, ", ")
end

-- Elements of a vector of the target, and of 128 bits of one.
function types.lanes(name, target) return target.lanes or target.bits // 8 // types.rows[name].bytes end
function types.part(name) return 16 // types.rows[name].bytes end

return types
