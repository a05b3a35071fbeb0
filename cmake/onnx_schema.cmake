# Compiles the ONNX schema that the system's ONNX package installs into `target`.
#
# The schema is renamed to the package camlucida.onnx_schema, so that a host program may link ONNX's
# own classes beside this library, and built for protobuf's lite runtime, which registers nothing
# globally. Fields of newer schemas that the importer reads are added where the installed one lacks
# them; on the wire they are the same.
#
# camlucida_onnx_schema(<target>) also defines `camlucida_onnx_schema`, for tests that build models.
function(camlucida_onnx_schema target)
  find_package(Protobuf REQUIRED)
  find_file(CAMLUCIDA_ONNX_PROTO NAMES onnx/onnx.proto onnx/onnx-ml.proto
            DOC "ONNX schema to compile (Debian: package libonnx-dev)")
  if(NOT CAMLUCIDA_ONNX_PROTO)
    message(FATAL_ERROR "onnx/onnx.proto not found: install libonnx-dev or set "
                        "CAMLUCIDA_ONNX_PROTO")
  endif()

  file(READ ${CAMLUCIDA_ONNX_PROTO} schema)
  string(REGEX REPLACE "\npackage onnx;" "\npackage camlucida.onnx_schema;" schema "${schema}")
  if(NOT schema MATCHES "LITE_RUNTIME")
    string(APPEND schema "\noption optimize_for = LITE_RUNTIME;\n")
  endif()
  set(added_NodeProto "string overload = 8" "StringStringEntryProto metadata_props = 9")
  set(added_FunctionProto "AttributeProto attribute_proto = 11" "string overload = 13")
  foreach(message IN ITEMS NodeProto FunctionProto)
    string(REGEX MATCH "\nmessage ${message} {.*" body "${schema}")
    string(FIND "${body}" "\n}" end)
    string(SUBSTRING "${body}" 0 ${end} body)
    foreach(field IN LISTS added_${message})
      if(NOT body MATCHES "${field}")
        string(REGEX REPLACE "^string" "optional string" declared "${field}")
        string(REGEX REPLACE "^([A-Z])" "repeated \\1" declared "${declared}")
        string(REPLACE "message ${message} {" "message ${message} {\n  ${declared};"
                       schema "${schema}")
      endif()
    endforeach()
  endforeach()

  set(folder ${CMAKE_BINARY_DIR}/generated/onnx_schema)
  file(WRITE ${folder}/onnx_schema.proto.in "${schema}")
  configure_file(${folder}/onnx_schema.proto.in ${folder}/onnx_schema.proto COPYONLY)
  add_custom_command(
    OUTPUT ${folder}/onnx_schema.pb.cc ${folder}/onnx_schema.pb.h
    COMMAND protobuf::protoc --cpp_out=${folder} -I${folder} onnx_schema.proto
    DEPENDS ${folder}/onnx_schema.proto
    COMMENT "Compiling the ONNX schema" VERBATIM)
  set_source_files_properties(${folder}/onnx_schema.pb.cc PROPERTIES COMPILE_OPTIONS -w)
  target_sources(${target} PRIVATE ${folder}/onnx_schema.pb.cc ${folder}/onnx_schema.pb.h)
  target_include_directories(${target} SYSTEM PRIVATE ${folder})
  target_link_libraries(${target} PRIVATE protobuf::libprotobuf)

  add_library(camlucida_onnx_schema INTERFACE)
  target_include_directories(camlucida_onnx_schema SYSTEM INTERFACE ${folder})
  target_link_libraries(camlucida_onnx_schema INTERFACE protobuf::libprotobuf)
endfunction()
