#include <curl/curl.h>

#include <charconv>
#include <exception>
#include <memory>
#include <string_view>

#include "engine/build_info.h"
#include "engine/error.h"
#include "tools/http.h"

namespace camlucida::cli {
namespace {

using Kind = HttpOutcome::Kind;

constexpr long kConnectSeconds = 20;
constexpr long kStallSeconds = 30;  ///< slower than kStallSpeed for so long: given up
constexpr long kStallSpeed = 200;   ///< bytes per second
constexpr long kRedirections = 10;

using Handle = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;

/// What the callbacks of one request share.
struct Exchange {
  const HttpRequest& request;
  CURL* handle;
  bool head_seen = false;
  std::exception_ptr thrown;  ///< by a callback of the request
};

/// Reads a number off the front of `text`.
bool take_number(std::string_view& text, uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

HttpHead head_of(CURL* handle) {
  HttpHead head;
  long status = 0;
  curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
  head.partial = status == 206;
  if (!head.partial) {
    curl_off_t length = -1;
    curl_easy_getinfo(handle, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (length >= 0) head.length = static_cast<uint64_t>(length);
    return head;
  }
  // "bytes FIRST-LAST/LENGTH", with * for a length that is not known
  curl_header* range = nullptr;
  uint64_t last = 0;
  uint64_t length = 0;
  std::string_view text;
  if (curl_easy_header(handle, "Content-Range", 0, CURLH_HEADER, -1, &range) == CURLHE_OK) {
    text = range->value;
  }
  const auto take = [&](std::string_view word) {
    if (!text.starts_with(word)) return false;
    text.remove_prefix(word.size());
    return true;
  };
  if (!take("bytes ") || !take_number(text, head.first) || !take("-") || !take_number(text, last) ||
      !take("/")) {
    throw Error(ErrorKind::kResource, "the server sends a part of the file without saying which",
                "use another server with --mirror");
  }
  if (take_number(text, length)) head.length = length;
  return head;
}

/// Runs a callback of the request; false if it threw.
template <class Call>
bool guarded(Exchange& exchange, const Call& call) {
  try {
    call();
    return true;
  } catch (...) {
    exchange.thrown = std::current_exception();
    return false;
  }
}

bool announce(Exchange& exchange) {
  if (exchange.head_seen) return true;
  exchange.head_seen = true;
  return guarded(exchange, [&] { exchange.request.head(head_of(exchange.handle)); });
}

size_t on_body(char* data, size_t, size_t size, void* user) {
  Exchange& exchange = *static_cast<Exchange*>(user);
  const auto* bytes = reinterpret_cast<const uint8_t*>(data);
  const bool taken = announce(exchange) && guarded(exchange, [&] {
                       exchange.request.body({bytes, size});
                     });
  return taken ? size : size + 1;  // any other number than `size` ends the transfer
}

int on_tick(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<Exchange*>(user)->request.stop() ? 1 : 0;
}

Kind kind_of_status(long status) {
  if (status == 416) return Kind::kBadRange;
  const bool later = status == 408 || status == 425 || status == 429 || status >= 500;
  return later ? Kind::kInterrupted : Kind::kRefused;
}

Kind kind_of(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
      return Kind::kUnreachable;
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
      return Kind::kInterrupted;
    default:
      return Kind::kRefused;
  }
}

/// libcurl wants to be set up once, before there are threads that use it.
void set_up() {
  static const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (code != CURLE_OK) throw Error(ErrorKind::kResource, "libcurl cannot be set up");
}

}  // namespace

bool can_download() { return true; }

HttpOutcome http_get(const HttpRequest& request) {
  set_up();
  const Handle handle(curl_easy_init(), curl_easy_cleanup);
  if (!handle) throw Error(ErrorKind::kResource, "libcurl cannot be set up");
  CURL* curl = handle.get();
  Exchange exchange{.request = request, .handle = curl};
  char details[CURL_ERROR_SIZE] = "";
  const std::string agent = "camlucida/" + build_info().version;
  const bool secure = request.url.starts_with("https:");
  curl_easy_setopt(curl, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, kRedirections);
  curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, kStallSeconds);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, kStallSpeed);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, agent.c_str());
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, details);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &exchange);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_tick);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &exchange);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  // Not CURLOPT_RESUME_FROM: it fails where a server sends the whole file, which is fine here.
  const std::string range = std::to_string(request.offset) + "-";
  if (request.offset > 0) curl_easy_setopt(curl, CURLOPT_RANGE, range.c_str());

  const CURLcode code = curl_easy_perform(curl);
  if (code == CURLE_OK) announce(exchange);  // an empty body
  if (exchange.thrown) std::rethrow_exception(exchange.thrown);
  if (code == CURLE_OK) return {};
  if (code == CURLE_ABORTED_BY_CALLBACK) return {Kind::kStopped, ""};
  if (code == CURLE_HTTP_RETURNED_ERROR) {
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    return {kind_of_status(status), "the server answers " + std::to_string(status)};
  }
  return {kind_of(code), details[0] != '\0' ? details : curl_easy_strerror(code)};
}

}  // namespace camlucida::cli
