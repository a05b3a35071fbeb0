#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace camlucida::test {

/// How the server answers requests for one path.
struct HttpFile {
  std::string content;
  int status = 200;           ///< anything but 200: this answer, with `content` as its page
  std::string redirect;       ///< not empty: 302 to this address
  bool ranges = true;         ///< false: sends the whole file whatever is asked for
  bool says_length = true;    ///< false: the end of the connection is the end of the file
  std::optional<size_t> cut;  ///< breaks off after so many bytes of the body ...
  int cuts = 0;               ///< ... so many times
  bool stall = false;         ///< at the cut it waits for the client to leave instead
};

/// An HTTP/1.1 server on 127.0.0.1, one request per connection, one connection at a time.
class HttpServer {
 public:
  HttpServer();
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// "http://127.0.0.1:PORT"
  std::string url() const;
  /// What is served as /NAME.
  void put(const std::string& name, HttpFile file);
  /// The request lines so far, each with the range asked for: "GET /net.onnx bytes=100-".
  std::vector<std::string> requests() const;

 private:
  void serve();
  void answer(int connection);

  uint16_t port_ = 0;
  int listener_ = -1;
  std::atomic<bool> closing_ = false;
  mutable std::mutex mutex_;
  std::map<std::string, HttpFile> files_;
  std::vector<std::string> requests_;
  std::thread thread_;
};

/// An address of this machine where nothing listens.
std::string closed_address();

}  // namespace camlucida::test
