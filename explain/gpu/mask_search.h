#pragma once

#include "explain/optimise/search.h"

namespace camlucida::gpu {

/// The search on a GPU, with the session that runs there. u, the mask, the masked picture, the
/// score, all derivatives and the state stay there, and the steps are sent ahead: nothing is
/// fetched and nothing waited for but by MaskSearch::state(). Where the session's plan can be
/// recorded (Session::is_capturable) a step is recorded after the first and started as a whole. A
/// target that only the host can compute (TargetScore::is_on_host) fetches the scores at every
/// step. Evidence, session and target outlive it; the session is used by nobody else meanwhile.
std::unique_ptr<MaskSearch> new_mask_search(Evidence& evidence, Session& session,
                                            const Target& target, const SearchForm& form);

}  // namespace camlucida::gpu
