/** A built statement that can stand in a batch by itself or as one step of a plan. */
import type { SQLWrapper } from 'drizzle-orm';
import type { Write } from './db.ts';

export type Statement = Write & SQLWrapper;
