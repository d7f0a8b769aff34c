-- What every LXD server has from the start.
INSERT INTO `projects` (`name`, `description`, `config`) VALUES ('default', 'Default LXD project', '{"features.images":"true","features.networks":"true","features.networks.zones":"true","features.profiles":"true","features.storage.buckets":"true","features.storage.volumes":"true"}');
--> statement-breakpoint
INSERT INTO `profiles` (`project`, `name`, `description`, `config`, `devices`) VALUES ('default', 'default', 'Default LXD profile', '{}', '{}');
--> statement-breakpoint
INSERT INTO `cluster_groups` (`name`, `description`) VALUES ('default', 'Default cluster group');
