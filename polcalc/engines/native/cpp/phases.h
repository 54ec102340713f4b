// Which phases an evaluation has, in their order.
#pragma once

#include <vector>

#include "engine.h"

inline std::vector<Phase> phases_of(const Model& m, bool attends, bool back) {
  const int last = m.n_layers - 1;
  std::vector<Phase> found{{kEmbed, 0}};
  for (int l = 0; l <= last; ++l) {
    if (l > 0 && attends) found.insert(found.end(), {{kGather, l}, {kAttend, l}});
    found.push_back({kLayer, l});
    if (l == 0 && m.electrons) found.insert(found.end(), {{kShare, l}, {kTell, l}});
  }
  if (m.charges) found.insert(found.end(), {{kSettle, last}, {kFinish, last}});
  for (int l = last; back && l >= 0; --l) {
    if (l == 0 && m.electrons) found.insert(found.end(), {{kShareBack, l}, {kSayBack, l}});
    found.push_back({kLayerBack, l});
    if (l > 0 && attends) found.insert(found.end(), {{kGatherBack, l}, {kDescribeBack, l}});
  }
  return found;
}
