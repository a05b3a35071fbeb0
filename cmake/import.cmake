# What reads files of other programs needs protobuf or a JSON library. CAMLUCIDA_IMPORT=OFF leaves it
# out and puts the files named no_* in its place, which refuse in one line.
include(cmake/onnx_schema.cmake)

# camlucida_split_import(<out: core> <out: import> <sources>): parts the sources of the library into
# those that every build has and those of this one that depend on CAMLUCIDA_IMPORT.
function(camlucida_split_import core import)
  set(imports ${ARGN})
  set(readers "/engine/import/|/ifa/analysis_file\\.cpp|/similarity/concept_tree_common\\.cpp")
  set(substitutes "/no_(import|json)\\.cpp")
  list(FILTER imports INCLUDE REGEX "${readers}|${substitutes}")
  list(REMOVE_ITEM ARGN ${imports})
  if(CAMLUCIDA_IMPORT)
    list(FILTER imports EXCLUDE REGEX "${substitutes}")
  else()
    list(FILTER imports INCLUDE REGEX "${substitutes}")
  endif()
  set(${core} ${ARGN} PARENT_SCOPE)
  set(${import} ${imports} PARENT_SCOPE)
endfunction()
