#include "tests/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <stdexcept>

namespace camlucida::test {
namespace {

/// A socket on a free port of 127.0.0.1.
int bound_socket(uint16_t* port) {
  const int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* plain = reinterpret_cast<sockaddr*>(&address);
  if (bind(descriptor, plain, size) != 0 || getsockname(descriptor, plain, &size) != 0) {
    throw std::runtime_error("cannot bind a socket");
  }
  *port = ntohs(address.sin_port);
  return descriptor;
}

std::string address_of(uint16_t port) { return "http://127.0.0.1:" + std::to_string(port); }

bool send_all(int connection, const std::string& text) {
  for (size_t sent = 0; sent < text.size();) {
    const ssize_t count = send(connection, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (count <= 0) return false;
    sent += static_cast<size_t>(count);
  }
  return true;
}

std::string receive_head(int connection) {
  std::string text;
  char buffer[4096];
  while (text.find("\r\n\r\n") == std::string::npos) {
    const ssize_t count = recv(connection, buffer, sizeof(buffer), 0);
    if (count <= 0) return "";
    text.append(buffer, static_cast<size_t>(count));
  }
  return text;
}

/// The value of a header line, or nothing.
std::string header(const std::string& head, const std::string& name) {
  const size_t at = head.find("\r\n" + name + ": ");
  if (at == std::string::npos) return "";
  const size_t begin = at + name.size() + 4;
  return head.substr(begin, head.find("\r\n", begin) - begin);
}

}  // namespace

HttpServer::HttpServer() : listener_(bound_socket(&port_)) {
  if (listen(listener_, 16) != 0) throw std::runtime_error("cannot listen");
  thread_ = std::thread([this] { serve(); });
}

HttpServer::~HttpServer() {
  closing_ = true;
  shutdown(listener_, SHUT_RDWR);
  thread_.join();
  close(listener_);
}

std::string HttpServer::url() const { return address_of(port_); }

void HttpServer::put(const std::string& name, HttpFile file) {
  const std::lock_guard lock(mutex_);
  files_["/" + name] = std::move(file);
}

std::vector<std::string> HttpServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

void HttpServer::serve() {
  while (!closing_) {
    const int connection = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    answer(connection);
    close(connection);
  }
}

void HttpServer::answer(int connection) {
  const std::string head = receive_head(connection);
  const size_t path_end = head.find(' ', 4);
  if (head.empty() || path_end == std::string::npos) return;
  const std::string path = head.substr(4, path_end - 4);
  const std::string range = header(head, "Range");
  HttpFile file{.content = "there is no such page", .status = 404};
  bool cut = false;
  {
    const std::lock_guard lock(mutex_);
    requests_.push_back("GET " + path + (range.empty() ? "" : " " + range));
    if (const auto found = files_.find(path); found != files_.end()) {
      cut = found->second.cuts > 0;
      if (cut) --found->second.cuts;
      file = found->second;
    }
  }
  std::string reply;
  std::string body = file.content;
  if (!file.redirect.empty()) {
    reply = "HTTP/1.1 302 Found\r\nLocation: " + file.redirect + "\r\n";
    body = "moved";
  } else if (file.status != 200) {
    reply = "HTTP/1.1 " + std::to_string(file.status) + " Sorry\r\n";
  } else if (!range.empty() && file.ranges) {
    const size_t first = std::stoul(range.substr(range.find('=') + 1));
    const std::string size = std::to_string(body.size());
    if (first >= body.size()) {
      reply = "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */" + size + "\r\n";
      body.clear();
    } else {
      reply = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes " + std::to_string(first) +
              "-" + std::to_string(body.size() - 1) + "/" + size + "\r\n";
      body = body.substr(first);
    }
  } else {
    reply = "HTTP/1.1 200 OK\r\n";
  }
  if (file.says_length) reply += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  reply += "Connection: close\r\n\r\n";
  if (cut) body = body.substr(0, file.cut.value_or(0));
  if (!send_all(connection, reply + body)) return;
  for (pollfd client = {connection, POLLIN, 0}; cut && file.stall && !closing_;) {
    if (poll(&client, 1, 20) != 0) break;  // the client has hung up
  }
  // Takes what is still on its way, so that closing does not reset the connection.
  shutdown(connection, SHUT_WR);
  char rest[64];
  while (recv(connection, rest, sizeof(rest), 0) > 0) {
  }
}

std::string closed_address() {
  uint16_t port = 0;
  close(bound_socket(&port));
  return address_of(port);
}

}  // namespace camlucida::test
