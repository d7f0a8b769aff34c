CREATE TABLE `instance_placements` (
	`instance_id` text PRIMARY KEY NOT NULL,
	`member` text NOT NULL,
	`target` text,
	`strategy` text NOT NULL,
	`scores` text NOT NULL,
	`rejections` text NOT NULL,
	`created_at` text NOT NULL
);
