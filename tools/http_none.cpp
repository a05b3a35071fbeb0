#include "engine/error.h"
#include "tools/http.h"

/// Stands in for http_curl.cpp where there is no libcurl.
namespace camlucida::cli {

bool can_download() { return false; }

HttpOutcome http_get(const HttpRequest&) {
  throw Error(ErrorKind::kUsage, "this build cannot download, it was made without libcurl",
              "install libcurl4-openssl-dev and build again");
}

}  // namespace camlucida::cli
