# Compiles the schema of Caffe files into `target`. Reading the text format needs descriptors, hence
# protobuf's full runtime; the messages register under names of this project only.
#
# camlucida_caffe_schema(<target>) also defines `camlucida_caffe_schema`, for tests that build
# weights.
function(camlucida_caffe_schema target)
  find_package(Protobuf REQUIRED)
  set(folder ${CMAKE_BINARY_DIR}/generated/caffe_schema)
  set(proto engine/import/caffe.proto)
  file(MAKE_DIRECTORY ${folder})
  set(generated ${folder}/engine/import/caffe.pb.cc ${folder}/engine/import/caffe.pb.h)
  add_custom_command(
    OUTPUT ${generated}
    COMMAND protobuf::protoc --cpp_out=${folder} -I${PROJECT_SOURCE_DIR} ${proto}
    DEPENDS ${PROJECT_SOURCE_DIR}/${proto}
    COMMENT "Compiling the Caffe schema" VERBATIM)
  set_source_files_properties(${folder}/engine/import/caffe.pb.cc PROPERTIES COMPILE_OPTIONS -w)
  target_sources(${target} PRIVATE ${generated})
  target_include_directories(${target} SYSTEM PRIVATE ${folder})
  target_link_libraries(${target} PRIVATE protobuf::libprotobuf)

  add_library(camlucida_caffe_schema INTERFACE)
  target_include_directories(camlucida_caffe_schema SYSTEM INTERFACE ${folder})
  target_link_libraries(camlucida_caffe_schema INTERFACE protobuf::libprotobuf)
endfunction()
