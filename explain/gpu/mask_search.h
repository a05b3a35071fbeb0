#pragma once

#include "explain/optimise/search.h"

namespace camlucida::gpu {

/// The search on a GPU, with the session that runs there: u, the mask, the masked picture and all
/// derivatives stay; a step fetches the scores of one picture and nothing else. Evidence, session
/// and target outlive it.
std::unique_ptr<MaskSearch> new_mask_search(Evidence& evidence, Session& session,
                                            const Target& target, const SearchForm& form);

}  // namespace camlucida::gpu
