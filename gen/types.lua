-- types.lua: what elements are, one row a type.
--
-- bytes: of one element. c: its name in C. digits: of its fraction, which bound an error. number: what emitted programs
-- call it.
local types = { rows = {
  f32 = { bytes = 4, c = "float", digits = 24, number = 0, pack = "<f" },
  f64 = { bytes = 8, c = "double", digits = 53, number = 1, pack = "<d" },
} }

function types.bytes(name) return types.rows[name].bytes end
function types.c(name) return types.rows[name].c end
function types.pack(name, value) return string.pack(types.rows[name].pack, value) end

-- Elements of a vector of the target, and of 128 bits of one.
function types.lanes(name, target) return target.lanes or target.bits // 8 // types.rows[name].bytes end
function types.part(name) return 16 // types.rows[name].bytes end

return types
