"""The user's own folders of configurations, where Hydra looks after ours; it finds plugins in `hydra_plugins`."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from tightfit.records.places import OWN, own_folders


class OwnFolders(SearchPathPlugin):
    """Adds the folders that TIGHTFIT_CONF or `--config-dir` names."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in own_folders():
            search_path.append(OWN, f"file://{folder}")
