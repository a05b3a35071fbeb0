# What reads files of other programs needs protobuf or a JSON library. CAMLUCIDA_IMPORT=OFF leaves it
# out and takes the files named no_* in its place, which refuse in one line.
include(cmake/onnx_schema.cmake)
include(cmake/caffe_schema.cmake)

# camlucida_split_import(<sources>): parts the sources of the library into core_sources, which every
# build has, import_sources and no_import_sources.
function(camlucida_split_import)
  set(readers "/engine/import/|/ifa/analysis_file\\.cpp|/similarity/concept_tree_common\\.cpp")
  set(substitutes "/no_(import|json|libhwy)\\.cpp")
  set(no_import ${ARGN})
  list(FILTER no_import INCLUDE REGEX "${substitutes}")
  set(import ${ARGN})
  list(FILTER import INCLUDE REGEX "${readers}")
  list(FILTER import EXCLUDE REGEX "${substitutes}")
  list(REMOVE_ITEM ARGN ${import} ${no_import})
  set(core_sources ${ARGN} PARENT_SCOPE)
  set(import_sources ${import} PARENT_SCOPE)
  set(no_import_sources ${no_import} PARENT_SCOPE)
endfunction()
