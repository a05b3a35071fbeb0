#pragma once

#include <google/protobuf/message_lite.h>

#include <filesystem>

namespace camlucida {

/// Parses the file into `message` piece by piece, so that only the message itself takes memory.
/// False if it is no such message, or truncated. Throws Error(kModel), not naming the file, if it
/// cannot be read, is no regular file, is over the 2 GB that a message can have (`hint_large` says
/// what to do then) or is a Git LFS pointer in the place of the file.
bool parse_message_file(const std::filesystem::path& path, google::protobuf::MessageLite& message,
                        const char* hint_large);
/// Throws Error(kModel) if a message cannot be that large.
void check_message_size(uint64_t bytes, const char* hint_large);
/// Throws Error(kModel) unless `path` is a regular file.
void check_model_file(const std::filesystem::path& path);

}  // namespace camlucida
