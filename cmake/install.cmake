# `cmake --install`: library, headers, program and the package that find_package(camlucida) finds.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS camlucida EXPORT camlucida ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY engine explain DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/camlucida
        FILES_MATCHING PATTERN "*.h" PATTERN "planner.h" EXCLUDE PATTERN "model_state.h" EXCLUDE
                       PATTERN "explain_call.h" EXCLUDE PATTERN "picture_run.h" EXCLUDE
                       PATTERN "onnx_*.h" EXCLUDE PATTERN "caffe_*.h" EXCLUDE
                       PATTERN "message_file.h" EXCLUDE)
install(DIRECTORY include/camlucida DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/camlucida)
install(EXPORT camlucida NAMESPACE camlucida:: DESTINATION ${package_folder}
        FILE camlucidaTargets.cmake)
configure_package_config_file(cmake/camlucidaConfig.cmake.in
                              ${CMAKE_BINARY_DIR}/camlucidaConfig.cmake
                              INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/camlucidaConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/camlucidaConfig.cmake
              ${CMAKE_BINARY_DIR}/camlucidaConfigVersion.cmake
        DESTINATION ${package_folder})
