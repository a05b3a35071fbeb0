#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

/// One GET request over HTTP or HTTPS.
namespace camlucida::cli {

/// What the server says before it sends the body.
struct HttpHead {
  bool partial = false;            ///< 206: the body starts at `first`; else it is the whole file
  uint64_t first = 0;              ///< position of the first byte of the body in the file
  std::optional<uint64_t> length;  ///< bytes of the whole file, if announced
};

struct HttpRequest {
  std::string url;      ///< http:// or https://; https leads to https only
  uint64_t offset = 0;  ///< the file from this byte on; a server may send all of it instead
  /// Called once, before the first part of the body and not for answers that are errors.
  std::function<void(const HttpHead&)> head;
  std::function<void(std::span<const uint8_t>)> body;
  /// Called about once a second and with every part; true ends the request.
  std::function<bool()> stop;
};

struct HttpOutcome {
  enum class Kind {
    kDone,         ///< the server sent what it announced
    kInterrupted,  ///< the connection broke, stalled, or the server is overloaded: try again
    kUnreachable,  ///< no connection to the server or the proxy
    kRefused,   ///< the server answered that there is no such file, or something that never works
    kBadRange,  ///< the file has no byte `offset`
    kStopped,   ///< HttpRequest::stop said so
  };
  Kind kind = Kind::kDone;
  std::string message;  ///< what happened, unless kDone or kStopped
};

/// False in a build without libcurl.
bool can_download();

/// Sends `request`; redirections are followed, the usual proxy variables honoured, and a connection
/// that stalls is given up. What `head` and `body` throw is thrown on. Throws Error(kUsage) if
/// !can_download().
HttpOutcome http_get(const HttpRequest& request);

}  // namespace camlucida::cli
